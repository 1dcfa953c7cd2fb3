package loans;

import java.util.Map;
import org.springframework.http.HttpStatus;
import org.springframework.http.ProblemDetail;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/** Answers questions about loans, asked in the query or as JSON. */
@RestController
public class LoanController {
    @GetMapping("/health")
    Map<String, String> health() {
        return Map.of("status", "ok");
    }

    @GetMapping("/cost")
    Loan.Cost costOfQuery(Loan loan) {
        return loan.cost();
    }

    @PostMapping("/cost")
    Loan.Cost costOfBody(@RequestBody Loan loan) {
        return loan.cost();
    }

    @ExceptionHandler
    ProblemDetail invalid(InvalidLoanException error) {
        return ProblemDetail.forStatusAndDetail(HttpStatus.BAD_REQUEST, error.getMessage());
    }
}
