//! The stored form of an index, of which only the parts that are asked for are read and checked.
//!
//! ```text
//! sha256 of the head, length of the head (u32), the head:
//!   number of packages (u32)
//!   number of blocks of records (u32), of each: length (u32), sha256, length (u16) and text of its first name
//!   number of blocks of providers (u32), of each the same
//! the blocks, in this order
//! ```
//! Numbers are little-endian. A record is the values of [`FIELDS`], one a line; records are in the order of the
//! names, of one name the newest version first, and those of one name are in one block. A line of a block of
//! providers is the name of a virtual package and of those that provide it, in the order of the names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use distil_oci::Digest;

use super::{FIELDS, IndexError, Package};
use crate::version;

/// A block ends with the first name that fills it up to this many bytes.
const BLOCK: usize = 32 << 10;
/// Bytes before the head.
const BEFORE_HEAD: usize = 32 + 4;
/// A head is smaller: those of Debian's largest index have 20 KB.
const MAX_HEAD: usize = 64 << 20;

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    File(File, PathBuf),
    Memory(Vec<u8>),
}

/// A stored index.
#[derive(Debug)]
pub(crate) struct StoredIndex {
    source: Source,
    packages: usize,
    records: Vec<Block>,
    providers: Vec<Block>,
}

/// A part that is read at once.
#[derive(Debug)]
struct Block {
    /// The name in its first line.
    first: Box<str>,
    at: u64,
    length: usize,
    sha256: Digest,
    loaded: OnceLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    text: String,
    /// Where each record or line begins.
    starts: Vec<u32>,
}

/// Where a record is: its block, and its number there.
pub(super) type Place = (u32, u32);

/// The stored form of a compact text.
pub(crate) fn encode(compact: &str) -> Result<Vec<u8>, IndexError> {
    let mut records: Vec<Package<'_>> = starts(compact, FIELDS.len())
        .into_iter()
        .map(|start| Package {
            record: compact.get(start as usize..).unwrap_or_default(),
            suite: 0,
        })
        .collect();
    // Stable: of equal versions the one that comes first is the first.
    records.sort_by(|a, b| {
        let by_name = a.name().cmp(b.name());
        by_name.then_with(|| version::compare(b.version(), a.version()))
    });
    let mut providers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &records {
        for provided in package.provides()? {
            let names = providers.entry(provided.name).or_default();
            if names.last() != Some(&package.name()) {
                names.push(package.name());
            }
        }
    }
    let mut blocks = Blocks::default();
    let mut last = "";
    for package in &records {
        blocks.add(package.name(), package.name() != last, package.lines());
        last = package.name();
    }
    let mut lines = Blocks::default();
    for (name, provided_by) in &providers {
        lines.add(name, true, &format!("{name} {}\n", provided_by.join(" ")));
    }
    let mut head = number(records.len())?.to_vec();
    blocks.describe(&mut head)?;
    lines.describe(&mut head)?;
    let mut out = Digest::sha256(&head).as_bytes().to_vec();
    out.extend_from_slice(&number(head.len())?);
    out.extend_from_slice(&head);
    out.extend_from_slice(blocks.text.as_bytes());
    out.extend_from_slice(lines.text.as_bytes());
    Ok(out)
}

fn number(count: usize) -> Result<[u8; 4], IndexError> {
    let number = u32::try_from(count).map_err(|_| IndexError::TooLarge)?;
    Ok(number.to_le_bytes())
}

/// Blocks that are being put together.
#[derive(Default)]
struct Blocks<'a> {
    text: String,
    /// First name and begin of each.
    begins: Vec<(&'a str, usize)>,
}

impl<'a> Blocks<'a> {
    fn add(&mut self, name: &'a str, may_begin: bool, lines: &str) {
        let is_full = self
            .begins
            .last()
            .is_none_or(|(_, begin)| self.text.len() - begin >= BLOCK);
        if may_begin && is_full {
            self.begins.push((name, self.text.len()));
        }
        self.text.push_str(lines);
    }

    fn describe(&self, head: &mut Vec<u8>) -> Result<(), IndexError> {
        head.extend_from_slice(&number(self.begins.len())?);
        let ends = self.begins.iter().skip(1).map(|(_, begin)| *begin);
        for ((name, begin), end) in self.begins.iter().zip(ends.chain([self.text.len()])) {
            let bytes = self.text.as_bytes().get(*begin..end).unwrap_or_default();
            head.extend_from_slice(&number(bytes.len())?);
            head.extend_from_slice(Digest::sha256(bytes).as_bytes());
            let length = u16::try_from(name.len()).map_err(|_| IndexError::TooLarge)?;
            head.extend_from_slice(&length.to_le_bytes());
            head.extend_from_slice(name.as_bytes());
        }
        Ok(())
    }
}

/// Where every `lines`-th line of `text` begins.
fn starts(text: &str, lines: usize) -> Vec<u32> {
    let mut starts = Vec::new();
    let (mut line, mut start) = (0, 0);
    for end in memchr::memchr_iter(b'\n', text.as_bytes()) {
        line += 1;
        if line == lines {
            // Callers keep texts below 32 bits.
            starts.push(u32::try_from(start).unwrap_or(u32::MAX));
            (line, start) = (0, end + 1);
        }
    }
    starts
}

/// What stands in a line before `end`.
fn word(text: &str, end: u8) -> &str {
    let at = memchr::memchr2(end, b'\n', text.as_bytes()).unwrap_or(text.len());
    text.get(..at).unwrap_or_default()
}

impl StoredIndex {
    /// Opens a file; `None` when it is not there, cut off, or its head is damaged.
    pub(crate) fn open(path: &Path) -> Option<StoredIndex> {
        let mut file = File::open(path).ok()?;
        let mut before = [0; BEFORE_HEAD];
        file.read_exact(&mut before).ok()?;
        let mut head = vec![0; head_length(&before).filter(|length| *length <= MAX_HEAD)?];
        file.read_exact(&mut head).ok()?;
        let size = file.metadata().ok()?.len();
        StoredIndex::new(&before, &head, size, Source::File(file, path.to_owned()))
    }

    /// Of bytes that [`encode`] gave.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<StoredIndex> {
        let (before, rest) = bytes.split_at_checked(BEFORE_HEAD)?;
        let before: [u8; BEFORE_HEAD] = before.try_into().ok()?;
        let head = rest.get(..head_length(&before)?)?.to_vec();
        let size = bytes.len() as u64;
        StoredIndex::new(&before, &head, size, Source::Memory(bytes))
    }

    fn new(before: &[u8; BEFORE_HEAD], head: &[u8], size: u64, source: Source) -> Option<StoredIndex> {
        if !before.starts_with(Digest::sha256(head).as_bytes()) {
            return None;
        }
        let mut at = (BEFORE_HEAD + head.len()) as u64;
        let mut input = Input(head);
        let packages = input.number()?;
        let records = input.blocks(&mut at)?;
        let providers = input.blocks(&mut at)?;
        let is_whole = at == size && input.0.is_empty();
        is_whole.then_some(StoredIndex {
            source,
            packages,
            records,
            providers,
        })
    }

    /// How many packages it holds, all versions counted.
    pub(super) fn len(&self) -> usize {
        self.packages
    }

    /// The lines from a record on that was found before; empty for others.
    pub(super) fn record(&self, (block, number): Place) -> &str {
        let loaded = self
            .records
            .get(block as usize)
            .and_then(|block| block.loaded.get());
        loaded.map_or("", |loaded| loaded.from(number as usize))
    }

    /// All versions of a package, the newest first.
    pub(super) fn versions(&self, name: &str) -> Result<Vec<Place>, IndexError> {
        let Some((block, loaded)) = self.block(&self.records, FIELDS.len(), name)? else {
            return Ok(Vec::new());
        };
        let name_of = |start: &u32| word(loaded.text.get(*start as usize..).unwrap_or_default(), b'\n');
        let first = loaded.starts.partition_point(|start| name_of(start) < name);
        let rest = loaded.starts.get(first..).unwrap_or_default();
        let count = rest.iter().take_while(|start| name_of(start) == name).count();
        // A block is smaller than 32 bits.
        Ok((first..first + count)
            .map(|number| (block, number as u32))
            .collect())
    }

    /// All records, in their order.
    pub(super) fn all(&self) -> Result<Vec<Place>, IndexError> {
        let mut all = Vec::with_capacity(self.packages);
        for (number, block) in self.records.iter().enumerate() {
            let loaded = self.load(block, FIELDS.len())?;
            all.extend((0..loaded.starts.len()).map(|record| (number as u32, record as u32)));
        }
        Ok(all)
    }

    /// The names of the packages of which a version provides `name`.
    pub(super) fn providers(&self, name: &str) -> Result<Vec<&str>, IndexError> {
        let Some((_, loaded)) = self.block(&self.providers, 1, name)? else {
            return Ok(Vec::new());
        };
        let line_of = |start: u32| word(loaded.text.get(start as usize..).unwrap_or_default(), b'\n');
        let found = loaded
            .starts
            .partition_point(|start| word(line_of(*start), b' ') < name);
        let line = loaded.starts.get(found).map_or("", |start| line_of(*start));
        let mut words = line.split(' ');
        Ok(match words.next() {
            Some(first) if first == name => words.collect(),
            _ => Vec::new(),
        })
    }

    /// The block that has everything of `name`, if anything has.
    fn block<'a>(
        &'a self,
        blocks: &'a [Block],
        lines: usize,
        name: &str,
    ) -> Result<Option<(u32, &'a Loaded)>, IndexError> {
        let after = blocks.partition_point(|block| &*block.first <= name);
        let Some((number, block)) = after.checked_sub(1).and_then(|at| Some((at, blocks.get(at)?))) else {
            return Ok(None);
        };
        Ok(Some((number as u32, self.load(block, lines)?)))
    }

    fn load<'a>(&self, block: &'a Block, lines: usize) -> Result<&'a Loaded, IndexError> {
        if let Some(loaded) = block.loaded.get() {
            return Ok(loaded);
        }
        let text = self.read(block).ok_or_else(|| self.damaged())?;
        let starts = starts(&text, lines);
        Ok(block.loaded.get_or_init(|| Loaded { text, starts }))
    }

    fn read(&self, block: &Block) -> Option<String> {
        let bytes = match &self.source {
            Source::Memory(bytes) => {
                let at = usize::try_from(block.at).ok()?;
                bytes.get(at..at + block.length)?.to_vec()
            }
            Source::File(file, _) => {
                let mut bytes = vec![0; block.length];
                file.read_exact_at(&mut bytes, block.at).ok()?;
                bytes
            }
        };
        if Digest::sha256(&bytes) != block.sha256 {
            return None;
        }
        String::from_utf8(bytes).ok()
    }

    /// Takes the file away, so that the next time the index is decoded anew.
    fn damaged(&self) -> IndexError {
        let path = match &self.source {
            Source::File(_, path) => path.clone(),
            Source::Memory(_) => PathBuf::new(),
        };
        let _ = fs::remove_file(&path);
        IndexError::Damaged { path }
    }
}

impl Loaded {
    fn from(&self, number: usize) -> &str {
        let start = self.starts.get(number);
        start
            .and_then(|start| self.text.get(*start as usize..))
            .unwrap_or_default()
    }
}

fn head_length(before: &[u8; BEFORE_HEAD]) -> Option<usize> {
    Input(before.get(32..)?).number()
}

/// What is left of a head.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    }

    /// Blocks from `at` on, which becomes their end.
    fn blocks(&mut self, at: &mut u64) -> Option<Vec<Block>> {
        let mut blocks = Vec::new();
        for _ in 0..self.number()? {
            let length = self.number()?;
            let sha256 = Digest::from_bytes(self.take(32)?.try_into().ok()?);
            let name = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
            let first = std::str::from_utf8(self.take(usize::from(name))?).ok()?;
            blocks.push(Block {
                first: first.into(),
                at: *at,
                length,
                sha256,
                loaded: OnceLock::new(),
            });
            *at += length as u64;
        }
        Some(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::compact;

    /// Packages in several blocks, out of order.
    fn text(count: usize) -> String {
        let package = |number: usize| {
            format!(
                "Package: p{number:04}\nVersion: 1.{number}\nArchitecture: all\nFilename: {}\nProvides: v{}, w (= 1)\n\n",
                "f".repeat(200),
                number % 7,
            )
        };
        let newer = "Package: p0003\nVersion: 2\nArchitecture: all\nFilename: newer\n\n";
        (0..count).rev().map(package).chain([newer.to_owned()]).collect()
    }

    fn stored(count: usize) -> Vec<u8> {
        encode(&compact(text(count).as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn everything_is_found_in_its_block() {
        let index = StoredIndex::from_bytes(stored(500)).unwrap();
        assert!(index.records.len() > 2, "{}", index.records.len());
        assert_eq!(index.len(), 501);
        for number in [0, 3, 137, 499] {
            let name = format!("p{number:04}");
            let found = index.versions(&name).unwrap();
            assert_eq!(found.len(), if number == 3 { 2 } else { 1 });
            assert!(index.record(found[0]).starts_with(&format!("{name}\n")));
        }
        let newest = index.versions("p0003").unwrap()[0];
        assert!(index.record(newest).starts_with("p0003\n2\n"));
        for name in ["", "a", "p", "p00031", "zz"] {
            assert!(index.versions(name).unwrap().is_empty(), "{name}");
            assert!(index.providers(name).unwrap().is_empty(), "{name}");
        }
        assert_eq!(index.providers("v6").unwrap().len(), 71);
        assert_eq!(index.providers("w").unwrap().len(), 500);
        assert_eq!(index.all().unwrap().len(), 501);
    }

    #[test]
    fn an_empty_index_is_one() {
        let index = StoredIndex::from_bytes(encode("").unwrap()).unwrap();
        assert_eq!(index.len(), 0);
        assert!(index.versions("a").unwrap().is_empty() && index.all().unwrap().is_empty());
    }

    #[test]
    fn damage_is_found_before_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let bytes = stored(500);
        let head = BEFORE_HEAD + head_length(bytes[..BEFORE_HEAD].try_into().unwrap()).unwrap();
        // A head that is wrong, or a file that was cut off, is no index.
        for at in [0, 33, BEFORE_HEAD, head - 1] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            fs::write(&path, &wrong).unwrap();
            assert!(StoredIndex::open(&path).is_none(), "{at}");
        }
        for length in [0, 10, head - 1, head, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(StoredIndex::open(&path).is_none(), "{length}");
        }
        // A wrong block is an error, and the file goes.
        let mut wrong = bytes.clone();
        wrong[head + 5] ^= 1;
        fs::write(&path, &wrong).unwrap();
        let index = StoredIndex::open(&path).unwrap();
        assert_eq!(index.versions("p0499").unwrap().len(), 1);
        let error = index.versions("p0000").unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("again"), "{error}");
        assert!(!path.exists());
    }
}
