package todo;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/** The back of the to-do list: its API, over a database that speaks MySQL's protocol. */
@SpringBootApplication
public class Application {
    public static void main(String[] args) {
        try {
            readPasswordFile();
        } catch (IOException error) {
            System.err.println("DATABASE_PASSWORD_FILE cannot be read: " + error);
            System.exit(1);
        }
        SpringApplication.run(Application.class, args);
    }

    /** A password in a file is seen by fewer eyes than one in a variable. */
    private static void readPasswordFile() throws IOException {
        var file = System.getenv("DATABASE_PASSWORD_FILE");
        if (file != null && !file.isEmpty()) {
            System.setProperty("spring.datasource.password", Files.readString(Path.of(file)).stripTrailing());
        }
    }
}
