//! Measures the two operations that every build with COPY does: hashing a context that has
//! not changed, and copying it into a new layer. `copy_bench DIR` makes 50,000 files in 500
//! folders and one file of 1 GiB below DIR, and prints seconds.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use distil_rootfs::content::{Selector, SelectorPath, digest_paths, digest_paths_recording};
use distil_rootfs::{CopyReport, CopySpec, DirTree, LinkSource, MergedTree, Upper, UpperOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: copy_bench DIR")?;
    let dir = Path::new(&dir);
    let many = dir.join("many");
    if !many.exists() {
        for folder in 0..500 {
            let folder = many.join(format!("folder{folder:03}"));
            fs::create_dir_all(&folder)?;
            for file in 0..100 {
                fs::write(folder.join(format!("file{file:03}.txt")), vec![b'x'; 900 + file])?;
            }
        }
        fs::create_dir(dir.join("large"))?;
        let piece: Vec<u8> = (0..1 << 20).map(|byte: u32| (byte ^ (byte >> 8)) as u8).collect();
        let mut large = fs::File::create(dir.join("large/file"))?;
        for _ in 0..1024 {
            std::io::Write::write_all(&mut large, &piece)?;
        }
    }
    for name in ["many", "large"] {
        measure(dir, name)?;
    }
    Ok(())
}

fn measure(dir: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let tree = DirTree::open(&dir.join(name))?.into_context();
    let cancel = AtomicBool::new(false);
    let selector = Selector {
        paths: vec![SelectorPath {
            path: "/".to_owned(),
            follow_links: true,
            ..SelectorPath::default()
        }],
    };
    for round in 0..3 {
        let start = Instant::now();
        digest_paths(&tree, &selector, &cancel)?;
        report(name, &format!("digest {round}"), start);
    }
    let start = Instant::now();
    let (_, known) = digest_paths_recording(&tree, &selector, &cancel)?;
    report(name, "digest recording", start);

    let lower = MergedTree::open::<&Path>(&[])?;
    let first = dir.join("upper1");
    fs::create_dir(&first)?;
    let upper = Upper::open(&lower, &first, UpperOptions::default())?;
    let mut spec = CopySpec::new("/", "/app/");
    let mut copied = CopyReport::default();
    let start = Instant::now();
    upper.copy(&tree, &spec, &mut copied)?;
    report(name, "copy", start);

    spec.link_from = Some(LinkSource {
        dir: first.clone(),
        manifest: Arc::new(copied.manifest),
        below: false,
    });
    spec.known = Some(Arc::new(known));
    let second = dir.join("upper2");
    fs::create_dir(&second)?;
    let upper = Upper::open(&lower, &second, UpperOptions::default())?;
    let mut copied = CopyReport::default();
    let start = Instant::now();
    upper.copy(&tree, &spec, &mut copied)?;
    report(
        name,
        &format!("copy with {} of {} linked", copied.linked, copied.files),
        start,
    );
    fs::remove_dir_all(first)?;
    fs::remove_dir_all(second)?;
    Ok(())
}

#[allow(clippy::print_stdout)]
fn report(name: &str, what: &str, start: Instant) {
    println!("{name:6} {what:36} {:.3} s", start.elapsed().as_secs_f64());
}
