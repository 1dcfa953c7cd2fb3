package todo;

import org.springframework.boot.diagnostics.AbstractFailureAnalyzer;
import org.springframework.boot.diagnostics.FailureAnalysis;

/** Tells why the program ends in words, in place of a stack trace. */
class DatabaseFailureAnalyzer extends AbstractFailureAnalyzer<DatabaseStart.DatabaseUnusable> {
    @Override
    protected FailureAnalysis analyze(Throwable root, DatabaseStart.DatabaseUnusable cause) {
        return new FailureAnalysis(
                cause.getMessage(),
                "Look at the database's log, and at DATABASE_HOST, DATABASE_PORT, DATABASE_NAME, DATABASE_USER and"
                        + " DATABASE_PASSWORD (or DATABASE_PASSWORD_FILE).",
                cause);
    }
}
