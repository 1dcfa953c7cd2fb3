package todo;

/** One thing to do. */
record Todo(long id, String title, boolean done) {}
