import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // `npm run dev` asks a back that runs on this machine.
  server: { proxy: { "/api": "http://127.0.0.1:8088" } },
});
