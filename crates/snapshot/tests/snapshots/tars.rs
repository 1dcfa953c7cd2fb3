//! Tars of layers: written with them, cut off, imported.

use super::*;

#[test]
fn a_tar_written_with_the_layer_is_not_made_again() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let active = place.snapshotter.prepare(&[]).expect("prepares");
    active
        .view()
        .expect("opens")
        .mkfile(&mkfile("/a", "text"))
        .expect("mkfile");
    let mut sink = TarWriter::new(std::io::sink(), TarOptions::default());
    let dir = DirTree::open(&active.upper_dir()).expect("opens");
    let node = dir.lookup(Path::new("/a")).expect("looks").expect("exists");
    sink.entry(Path::new("a"), &node, None, &Vec::new())
        .expect("an entry");
    sink.data(b"text").expect("data");
    let (_, tar) = sink.finish().expect("ends");
    let info = active
        .commit(CommitOptions {
            tar: Some(tar),
            ..CommitOptions::default()
        })
        .expect("commits");
    assert_eq!((info.size, info.inodes), (4, 1));
    let diff_id = info.diff_id.expect("known at once");
    let tar = place
        .snapshotter
        .store()
        .blobs()
        .read(&diff_id.0)
        .expect("a walk gives the same");
    assert_eq!(info.tar_size, Some(tar.len() as u64));
}

#[test]
fn cut_off_times_give_another_tar_that_can_be_had() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let layer = base(&place.snapshotter);
    let plain = place.snapshotter.diff_id(layer).expect("hashes");
    let clamped = place.snapshotter.clamped_diff_id(layer, 1000).expect("hashes");
    assert_ne!(plain, clamped);
    assert_eq!(
        place.snapshotter.clamped_diff_id(layer, 1000).expect("remembers"),
        clamped
    );
    let tar = place
        .snapshotter
        .store()
        .blobs()
        .read(&clamped.0)
        .expect("made on demand");
    let mut archive = tar::Archive::new(&tar[..]);
    for entry in archive.entries().expect("reads") {
        assert_eq!(entry.expect("entry").header().mtime().expect("time"), 1000);
    }
}

#[test]
fn an_imported_layer_is_unpacked_once_and_checked() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let layer = base(&place.snapshotter);
    let diff_id = place.snapshotter.diff_id(layer).expect("hashes");
    let blob = place
        .snapshotter
        .compressed(diff_id, Compression::Zstd, false)
        .expect("compresses");
    let packed = place
        .snapshotter
        .store()
        .blobs()
        .read(&blob.digest)
        .expect("reads");

    let other = Place::new(SnapshotMode::Auto);
    let wrong = DiffId(Digest::sha256(b"something else"));
    let error = other
        .snapshotter
        .import(&packed[..], Some(wrong))
        .expect_err("another diff ID");
    assert!(matches!(error, SnapshotError::DiffIdMismatch { .. }), "{error}");
    assert_eq!(
        fs::read_dir(other.snapshotter.store().snapshots_dir())
            .expect("reads")
            .count(),
        0
    );

    let imported: Vec<LayerId> = std::thread::scope(|scope| {
        let import = || {
            let snapshotter = other.other();
            snapshotter
                .import_layer(diff_id, &[], || Ok(&packed[..]))
                .expect("imports")
                .id
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(import)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    // Each handle dropped its lease at its end: those that met share a layer.
    let last = other
        .snapshotter
        .import_layer(diff_id, &[], || Ok(&packed[..]))
        .expect("imports");
    assert!(imported.contains(&last.id));
    assert_eq!(
        imported.iter().collect::<std::collections::BTreeSet<_>>().len(),
        1
    );
    let tar = other
        .snapshotter
        .store()
        .blobs()
        .read(&diff_id.0)
        .expect("the same tar again");
    assert_eq!(Some(tar.len() as u64), last.tar_size);
    let trees = [&place.snapshotter, &other.snapshotter].map(|snapshotter| {
        contents(
            &snapshotter
                .tree(&[if snapshotter.info(layer).is_ok() {
                    layer
                } else {
                    last.id
                }])
                .expect("opens"),
        )
    });
    assert_eq!(trees[0], trees[1]);
}

#[test]
fn the_original_of_a_foreign_tar_is_kept() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["z", "a"] {
        // In another order than ours.
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        builder
            .append_data(&mut header, name, &b"x"[..])
            .expect("appends");
    }
    let tar = builder.into_inner().expect("ends");
    let diff_id = DiffId(Digest::sha256(&tar));
    let snapshotter = &place.snapshotter;
    snapshotter
        .import_layer(diff_id, &[], || Ok(&tar[..]))
        .expect("imports");
    let blobs = snapshotter.store().blobs();
    assert!(blobs.read(&diff_id.0).is_err(), "ours differs, and that is told");
    let mut packed = Vec::new();
    distil_layer::compress(&tar[..], &mut packed, Compression::Gzip, 1).expect("compresses");
    let digest = blobs.put(&packed).expect("puts");
    snapshotter
        .add_original(diff_id, digest, packed.len() as u64, "a type")
        .expect("adds");
    assert_eq!(blobs.read(&diff_id.0).expect("from the original"), tar);
    let kept = snapshotter
        .compressed(diff_id, Compression::Zstd, true)
        .expect("keeps");
    assert_eq!((kept.digest, kept.media_type.as_str()), (digest, "a type"));
    let forced = snapshotter
        .compressed(diff_id, Compression::Zstd, false)
        .expect("compresses");
    assert_ne!(forced.digest, digest);
}

#[test]
fn a_compressed_size_is_measured_once_and_keeps_no_bytes() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let layer = base(&place.snapshotter);
    let diff_id = place.snapshotter.diff_id(layer).expect("hashes");
    let size = |form| {
        place
            .snapshotter
            .compressed_size(diff_id, form, 1)
            .expect("measures")
    };
    let (gzip, plain) = (size(Compression::Gzip), size(Compression::Uncompressed));
    assert!(gzip < plain, "{gzip} of {plain}");
    let store = place.snapshotter.store();
    let known = store.layers().blobs(diff_id).expect("lists");
    assert_eq!(known.len(), 1);
    assert!(!store.blobs().is_stored(&known[0].digest).expect("looks"));
    // What is written later is exactly what was measured.
    let blob = place
        .snapshotter
        .compressed(diff_id, Compression::Gzip, true)
        .expect("compresses");
    assert_eq!((&blob, blob.size), (&known[0], gzip));
    assert!(store.blobs().is_stored(&blob.digest).expect("looks"));
    // The form that it came in counts, whatever is wanted; one that is not compressed does not.
    let other = known[0].digest;
    let add = |size, kind| {
        place
            .snapshotter
            .add_original(diff_id, other, size, kind)
            .expect("adds");
    };
    add(1, "application/vnd.oci.image.layer.v1.tar");
    assert_eq!(size(Compression::Gzip), gzip);
    add(7, "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(size(Compression::Gzip), 7);
}
