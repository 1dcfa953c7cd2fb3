package todo;

import java.util.List;
import org.springframework.http.HttpStatus;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PatchMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.server.ResponseStatusException;

/** The list over HTTP. */
@RestController
@RequestMapping("/api/todos")
class TodoController {
    private static final int LONGEST_TITLE = 200;

    private final Todos todos;

    TodoController(Todos todos) {
        this.todos = todos;
    }

    record NewTodo(String title) {}

    record Change(Boolean done) {}

    @GetMapping
    List<Todo> list() {
        return todos.all();
    }

    @PostMapping
    @ResponseStatus(HttpStatus.CREATED)
    Todo add(@RequestBody NewTodo todo) {
        var title = todo.title() == null ? "" : todo.title().strip();
        if (title.isEmpty() || title.codePointCount(0, title.length()) > LONGEST_TITLE) {
            throw new ResponseStatusException(
                    HttpStatus.BAD_REQUEST, "a title has 1 to " + LONGEST_TITLE + " characters");
        }
        return todos.add(title);
    }

    @PatchMapping("/{id}")
    Todo change(@PathVariable long id, @RequestBody Change change) {
        if (change.done() == null) {
            throw new ResponseStatusException(HttpStatus.BAD_REQUEST, "`done` is missing");
        }
        todos.setDone(id, change.done());
        return todos.find(id).orElseThrow(() -> unknown(id));
    }

    @DeleteMapping("/{id}")
    @ResponseStatus(HttpStatus.NO_CONTENT)
    void remove(@PathVariable long id) {
        if (!todos.remove(id)) {
            throw unknown(id);
        }
    }

    private static ResponseStatusException unknown(long id) {
        return new ResponseStatusException(HttpStatus.NOT_FOUND, "there is no to-do " + id);
    }
}
