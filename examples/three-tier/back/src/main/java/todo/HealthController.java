package todo;

import java.util.Map;
import org.springframework.dao.DataAccessException;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** 200 when requests can be answered, else 503 with the reason. */
@RestController
class HealthController {
    private final DatabaseStart start;
    private final Todos todos;

    HealthController(DatabaseStart start, Todos todos) {
        this.start = start;
        this.todos = todos;
    }

    @GetMapping("/health")
    ResponseEntity<Map<String, String>> health() {
        if (!start.isReady()) {
            return unwell("waiting for the database");
        }
        try {
            todos.ping();
            return ResponseEntity.ok(Map.of("status", "ok"));
        } catch (DataAccessException error) {
            return unwell("the database does not answer");
        }
    }

    private static ResponseEntity<Map<String, String>> unwell(String reason) {
        return ResponseEntity.status(503).body(Map.of("status", reason));
    }
}
