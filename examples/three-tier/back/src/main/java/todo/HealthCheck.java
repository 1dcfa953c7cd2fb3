package todo;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;

/** Asks {@code /health} from inside the container, which has no curl: exit code 0 or 1. */
public class HealthCheck {
    public static void main(String[] args) throws IOException {
        var port = System.getenv().getOrDefault("PORT", "8088");
        var connection = (HttpURLConnection) URI.create("http://127.0.0.1:" + port + "/health").toURL().openConnection();
        connection.setConnectTimeout(2000);
        connection.setReadTimeout(5000);
        System.exit(connection.getResponseCode() == 200 ? 0 : 1);
    }
}
