package loans;

/** A loan that nobody gives; the message is meant for whoever asked. */
public class InvalidLoanException extends RuntimeException {
    public InvalidLoanException(String message) {
        super(message);
    }
}
