//! Tables of the metadata database, and how older ones become the present ones.
//!
//! `pending` columns implement "records made since the last sync are dropped under another
//! boot": they hold the sync epoch in which the row was written, and NULL once a sync has
//! carried the row and its files to the disk.

use rusqlite::Connection;

/// Tables of format 1.
const VERSION_1: &str = "
CREATE TABLE state(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot TEXT NOT NULL,              -- boot id under which the pending rows were written
    epoch INTEGER NOT NULL           -- counts the syncs
);
CREATE TABLE kv(
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    pending INTEGER,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE blobs(
    digest BLOB PRIMARY KEY,         -- the 32 bytes of the sha256
    size INTEGER NOT NULL,
    pending INTEGER
) WITHOUT ROWID;
CREATE TABLE layers(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    committed INTEGER NOT NULL,
    diff_id BLOB,
    tar_size INTEGER,
    size INTEGER NOT NULL,           -- bytes of file contents
    inodes INTEGER NOT NULL,
    id_map TEXT NOT NULL,            -- user namespace map that the directory was written under
    base TEXT,                       -- layers below that it was fitted onto, where it depends on them
    pending INTEGER
);
CREATE INDEX layers_by_diff_id ON layers(diff_id) WHERE diff_id IS NOT NULL;
CREATE TABLE clamped_layers(         -- tars of layers with times cut off
    layer INTEGER NOT NULL,
    latest_mtime INTEGER NOT NULL,   -- seconds since 1970
    diff_id BLOB NOT NULL,
    tar_size INTEGER NOT NULL,
    pending INTEGER,
    PRIMARY KEY (layer, latest_mtime)
) WITHOUT ROWID;
CREATE INDEX clamped_layers_by_diff_id ON clamped_layers(diff_id);
CREATE TABLE layer_blobs(            -- compressed forms of a layer
    diff_id BLOB NOT NULL,
    form TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    pending INTEGER,
    PRIMARY KEY (diff_id, form)
) WITHOUT ROWID;
CREATE TABLE images(
    id BLOB PRIMARY KEY,             -- digest of the config
    manifest BLOB,
    platform TEXT NOT NULL,
    created INTEGER NOT NULL,        -- the config's, nanoseconds since 1970
    stored INTEGER NOT NULL,
    pending INTEGER
) WITHOUT ROWID;
CREATE TABLE image_layers(
    image BLOB NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE TABLE image_blobs(
    image BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (image, digest)
) WITHOUT ROWID;
CREATE TABLE tags(
    name TEXT PRIMARY KEY,           -- full reference with tag
    image BLOB NOT NULL,
    pending INTEGER
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags(image);
CREATE TABLE repo_digests(
    repository TEXT NOT NULL,        -- full repository name
    digest BLOB NOT NULL,            -- of the manifest or index that it was pulled or pushed as
    image BLOB NOT NULL,
    pending INTEGER,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE TABLE records(                -- results in the build cache
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    description TEXT NOT NULL,
    payload BLOB NOT NULL,           -- the engine's own
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    pending INTEGER
);
CREATE TABLE record_layers(
    record INTEGER NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    PRIMARY KEY (record, position)
) WITHOUT ROWID;
CREATE TABLE record_blobs(
    record INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (record, digest)
) WITHOUT ROWID;
CREATE TABLE cache_nodes(            -- cache keys
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL,
    root INTEGER NOT NULL            -- 1: has no inputs, and its digest is unique
);
CREATE INDEX cache_nodes_by_digest ON cache_nodes(digest);
CREATE TABLE cache_links(
    source INTEGER NOT NULL,
    input INTEGER NOT NULL,
    digest BLOB NOT NULL,            -- the target's
    selector BLOB NOT NULL,          -- empty for none
    target INTEGER NOT NULL,
    PRIMARY KEY (source, input, digest, selector, target)
) WITHOUT ROWID;
CREATE INDEX cache_links_by_target ON cache_links(target);
CREATE TABLE cache_results(
    node INTEGER NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (node, record)
) WITHOUT ROWID;
CREATE INDEX cache_results_by_record ON cache_results(record);
CREATE TABLE leases(id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE held_layers(
    lease TEXT NOT NULL, layer INTEGER NOT NULL, PRIMARY KEY (lease, layer)
) WITHOUT ROWID;
CREATE TABLE held_blobs(
    lease TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (lease, digest)
) WITHOUT ROWID;
CREATE TABLE held_records(
    lease TEXT NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (lease, record)
) WITHOUT ROWID;
CREATE INDEX blobs_pending ON blobs(pending) WHERE pending IS NOT NULL;
CREATE INDEX layers_pending ON layers(pending) WHERE pending IS NOT NULL;
CREATE INDEX records_pending ON records(pending) WHERE pending IS NOT NULL;
";

/// A layer may be an addition to another one.
const VERSION_2: &str = "
ALTER TABLE layers ADD COLUMN extends INTEGER;  -- the layer whose directory is below this one's, if any
CREATE INDEX layers_by_extends ON layers(extends) WHERE extends IS NOT NULL;
";

/// Tables whose rows have a `pending` column.
pub(crate) const PENDING_TABLES: &[&str] = &[
    "kv",
    "blobs",
    "layers",
    "clamped_layers",
    "layer_blobs",
    "images",
    "tags",
    "repo_digests",
    "records",
];

/// One step from a format to the next.
pub(crate) struct Migration {
    /// Format that the step starts from; it ends at the next number.
    pub(crate) from: u32,
    /// Runs inside one transaction with all other steps.
    pub(crate) run: fn(&Connection) -> rusqlite::Result<()>,
}

/// Every step ever made, oldest first; never edited once released, only appended to. A new
/// store is an empty one (format 0) migrated.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        from: 0,
        run: |connection| connection.execute_batch(VERSION_1),
    },
    Migration {
        from: 1,
        run: |connection| connection.execute_batch(VERSION_2),
    },
];

/// Brings a database from its `user_version` up to date and returns the version it had.
///
/// The caller holds the write lock and an open transaction.
pub(crate) fn migrate(connection: &Connection, steps: &[Migration]) -> rusqlite::Result<u32> {
    let found = user_version(connection)?;
    let mut version = found;
    for step in steps {
        if step.from == version {
            (step.run)(connection)?;
            version = step.from + 1;
        }
    }
    connection.pragma_update(None, "user_version", version)?;
    Ok(found)
}

/// Format version recorded in the database, 0 for a new file.
pub(crate) fn user_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: &[Migration] = &[
        Migration {
            from: 0,
            run: |connection| connection.execute_batch("CREATE TABLE names(name TEXT)"),
        },
        Migration {
            from: 1,
            run: |connection| connection.execute_batch("ALTER TABLE names ADD COLUMN size INTEGER DEFAULT 7"),
        },
        Migration {
            from: 2,
            run: |connection| connection.execute_batch("UPDATE names SET size = size + 1"),
        },
    ];

    fn size(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT size FROM names", [], |row| row.get(0))
            .expect("reads")
    }

    #[test]
    fn every_older_format_becomes_the_newest() {
        for start in 1..=LATER.len() {
            let connection = Connection::open_in_memory().expect("opens");
            migrate(&connection, &LATER[..start]).expect("migrates");
            connection
                .execute("INSERT INTO names(name) VALUES ('a')", [])
                .expect("inserts");
            let found = migrate(&connection, LATER).expect("migrates");
            assert_eq!(found as usize, start);
            assert_eq!(user_version(&connection).expect("reads"), 3);
            assert_eq!(size(&connection), if start == 3 { 7 } else { 8 });
            migrate(&connection, LATER).expect("nothing to do");
            assert_eq!(size(&connection), if start == 3 { 7 } else { 8 });
        }
    }

    #[test]
    fn the_steps_lead_to_the_present_format() {
        let connection = Connection::open_in_memory().expect("opens");
        migrate(&connection, MIGRATIONS).expect("migrates");
        assert_eq!(user_version(&connection).expect("reads"), crate::FORMAT_VERSION);
    }
}
