import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Small pictures stay files: the content security policy allows no data: addresses.
  build: { assetsInlineLimit: 0 },
  preview: { port: 8085, strictPort: true },
});
