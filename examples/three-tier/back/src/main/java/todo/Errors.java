package todo;

import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.dao.DataAccessException;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.http.converter.HttpMessageNotReadableException;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.RestControllerAdvice;
import org.springframework.web.method.annotation.MethodArgumentTypeMismatchException;
import org.springframework.web.server.ResponseStatusException;

/** What a caller is told when something is wrong: {@code {"error": "..."}}. */
@RestControllerAdvice
class Errors {
    private static final Logger log = LoggerFactory.getLogger(Errors.class);

    @ExceptionHandler
    ResponseEntity<Map<String, String>> refused(ResponseStatusException error) {
        return answer(HttpStatus.valueOf(error.getStatusCode().value()), error.getReason());
    }

    @ExceptionHandler({HttpMessageNotReadableException.class, MethodArgumentTypeMismatchException.class})
    ResponseEntity<Map<String, String>> malformed(Exception error) {
        return answer(HttpStatus.BAD_REQUEST, "the request cannot be read");
    }

    @ExceptionHandler
    ResponseEntity<Map<String, String>> unavailable(DataAccessException error) {
        log.warn("the database failed: {}", error.getMostSpecificCause().getMessage());
        return answer(HttpStatus.SERVICE_UNAVAILABLE, "the database does not answer");
    }

    private static ResponseEntity<Map<String, String>> answer(HttpStatus status, String reason) {
        return ResponseEntity.status(status).body(Map.of("error", reason));
    }
}
