package todo;

import java.util.List;
import java.util.Optional;
import org.springframework.jdbc.core.simple.JdbcClient;
import org.springframework.jdbc.support.GeneratedKeyHolder;
import org.springframework.stereotype.Repository;

/** The list as it is stored. A method returns when the database has written what it changed. */
@Repository
class Todos {
    private final JdbcClient database;

    Todos(JdbcClient database) {
        this.database = database;
    }

    void createTable() {
        database.sql("""
                CREATE TABLE IF NOT EXISTS todo (
                    id BIGINT AUTO_INCREMENT PRIMARY KEY,
                    title VARCHAR(200) NOT NULL,
                    done BOOLEAN NOT NULL DEFAULT FALSE
                )""").update();
    }

    List<Todo> all() {
        return database.sql("SELECT id, title, done FROM todo ORDER BY id").query(Todo.class).list();
    }

    Optional<Todo> find(long id) {
        return database.sql("SELECT id, title, done FROM todo WHERE id = ?").param(id).query(Todo.class).optional();
    }

    Todo add(String title) {
        var key = new GeneratedKeyHolder();
        database.sql("INSERT INTO todo (title) VALUES (?)").param(title).update(key, "id");
        return new Todo(key.getKeyAs(Number.class).longValue(), title, false);
    }

    void setDone(long id, boolean done) {
        database.sql("UPDATE todo SET done = ? WHERE id = ?").param(done).param(id).update();
    }

    boolean remove(long id) {
        return database.sql("DELETE FROM todo WHERE id = ?").param(id).update() > 0;
    }

    /** Fails when the database does not answer. */
    void ping() {
        database.sql("SELECT 1").query(Integer.class).single();
    }
}
