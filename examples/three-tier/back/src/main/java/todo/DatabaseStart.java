package todo;

import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.ApplicationArguments;
import org.springframework.boot.ApplicationRunner;
import org.springframework.boot.ExitCodeGenerator;
import org.springframework.dao.DataAccessException;
import org.springframework.stereotype.Component;

/**
 * Waits for the database when the program starts, and makes the table. Until then {@code /health} says that it waits;
 * when the time is up, or the database refuses this program, the program ends.
 */
@Component
class DatabaseStart implements ApplicationRunner {
    private static final Logger log = LoggerFactory.getLogger(DatabaseStart.class);
    private static final Duration PAUSE = Duration.ofSeconds(1);

    private final Todos todos;
    private final String url;
    private final Duration wait;
    private volatile boolean ready;

    DatabaseStart(
            Todos todos,
            @Value("${spring.datasource.url}") String url,
            @Value("${todo.database.wait}") Duration wait) {
        this.todos = todos;
        this.url = url.replaceFirst("\\?.*", "");
        this.wait = wait;
    }

    boolean isReady() {
        return ready;
    }

    @Override
    public void run(ApplicationArguments arguments) throws InterruptedException {
        var end = Instant.now().plus(wait);
        while (!ready) {
            try {
                todos.createTable();
                ready = true;
                log.info("ready: the database at {} answers", url);
            } catch (DataAccessException error) {
                againBefore(end, error.getMostSpecificCause());
            }
        }
    }

    private void againBefore(Instant end, Throwable cause) throws InterruptedException {
        if (isRefusal(cause)) {
            throw new DatabaseUnusable("the database at " + url + " refuses this program: " + cause.getMessage());
        }
        var left = Duration.between(Instant.now(), end).toSeconds();
        if (left <= 0) {
            throw new DatabaseUnusable("the database at " + url + " has not answered for " + wait.toSeconds()
                    + " seconds: " + cause.getMessage());
        }
        log.warn("the database at {} does not answer, trying again for {} seconds: {}", url, left, cause.getMessage());
        Thread.sleep(PAUSE.toMillis());
    }

    /** Whether the database has answered, and no: a wrong password (28000), no such database or no right to it (42000). */
    private static boolean isRefusal(Throwable cause) {
        return cause instanceof SQLException error
                && error.getSQLState() != null
                && (error.getSQLState().startsWith("28") || error.getSQLState().startsWith("42"));
    }

    /** Ends the program. */
    static class DatabaseUnusable extends RuntimeException implements ExitCodeGenerator {
        DatabaseUnusable(String message) {
            super(message);
        }

        @Override
        public int getExitCode() {
            return 1;
        }
    }
}
