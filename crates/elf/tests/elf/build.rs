//! ELF files made by hand, of any class and byte order.

use distil_elf::{Class, Endian};

/// What to put into a file. Addresses equal offsets; one segment holds everything.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) class: Class,
    pub(crate) endian: Endian,
    pub(crate) machine: u16,
    /// `e_type`: 2 a program, 3 a library or position-independent program.
    pub(crate) kind: u16,
    pub(crate) interpreter: Option<&'static str>,
    pub(crate) needed: Vec<&'static str>,
    pub(crate) soname: Option<&'static str>,
    pub(crate) rpath: Option<&'static str>,
    pub(crate) runpath: Option<&'static str>,
    /// Library, version, weak.
    pub(crate) versions_needed: Vec<(&'static str, &'static str, bool)>,
    pub(crate) versions_defined: Vec<&'static str>,
    pub(crate) imports: Vec<&'static str>,
    pub(crate) dlopen: Option<&'static str>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            class: Class::Elf64,
            endian: Endian::Little,
            machine: 62,
            kind: 3,
            interpreter: None,
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            versions_needed: Vec::new(),
            versions_defined: Vec::new(),
            imports: Vec::new(),
            dlopen: None,
        }
    }
}

/// A program that starts with glibc's loader.
pub(crate) fn program(needed: &[&'static str]) -> Build {
    Build {
        interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
        needed: needed.to_vec(),
        ..Build::default()
    }
}

/// A library.
pub(crate) fn library(soname: &'static str, needed: &[&'static str]) -> Build {
    Build {
        soname: Some(soname),
        needed: needed.to_vec(),
        ..Build::default()
    }
}

struct Writer<'b> {
    build: &'b Build,
    out: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer<'_> {
    fn number(&self, value: u64, size: usize) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..size].to_vec();
        if self.build.endian == Endian::Big {
            bytes.reverse();
        }
        bytes
    }

    fn put(&mut self, value: u64, size: usize) {
        let bytes = self.number(value, size);
        self.out.extend(bytes);
    }

    fn wide(&self) -> bool {
        self.build.class == Class::Elf64
    }

    fn word(&mut self, value: u64) {
        let size = if self.wide() { 8 } else { 4 };
        self.put(value, size);
    }

    fn string(&mut self, text: &str) -> u64 {
        let at = self.strings.len() as u64;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn here(&mut self) -> u64 {
        while !self.out.len().is_multiple_of(8) {
            self.out.push(0);
        }
        self.out.len() as u64
    }

    fn segment(&mut self, kind: u64, offset: u64, size: u64) {
        self.put(kind, 4);
        if self.wide() {
            self.put(5, 4);
        }
        for value in [offset, offset, offset, size, size] {
            self.word(value);
        }
        if !self.wide() {
            self.put(5, 4);
        }
        self.word(8);
    }
}

const SEGMENTS: usize = 4;

impl Build {
    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut w = Writer {
            build: self,
            out: Vec::new(),
            strings: vec![0],
        };
        let (header, entry) = if w.wide() { (64, 56) } else { (52, 32) };
        w.out.resize(header + SEGMENTS * entry, 0);
        let interpreter = w.here();
        let interpreter_size = self.interpreter.map_or(0, |path| {
            w.out.extend(path.as_bytes());
            w.out.push(0);
            path.len() as u64 + 1
        });
        let mut entries: Vec<(u64, u64)> = Vec::new();
        for name in &self.needed {
            entries.push((1, w.string(name)));
        }
        for (tag, text) in [(14, self.soname), (15, self.rpath), (29, self.runpath)] {
            entries.extend(text.map(|text| (tag, w.string(text))));
        }
        self.write_versions(&mut w, &mut entries);
        self.write_symbols(&mut w, &mut entries);
        let note = w.here();
        let note_size = self.write_note(&mut w);
        let strings = w.here();
        let text = std::mem::take(&mut w.strings);
        w.out.extend(&text);
        entries.extend([(5, strings), (10, text.len() as u64), (0, 0)]);
        let dynamic = w.here();
        for (tag, value) in entries {
            w.word(tag);
            w.word(value);
        }
        let total = w.out.len() as u64;
        let mut head = Writer {
            build: self,
            out: Vec::new(),
            strings: Vec::new(),
        };
        head.out.extend(b"\x7fELF");
        head.out.extend([
            if head.wide() { 2 } else { 1 },
            if self.endian == Endian::Little { 1 } else { 2 },
            1,
        ]);
        head.out.resize(16, 0);
        head.put(u64::from(self.kind), 2);
        head.put(u64::from(self.machine), 2);
        head.put(1, 4);
        for value in [0, header as u64, 0] {
            head.word(value);
        }
        head.put(0, 4);
        for value in [header, entry, SEGMENTS, 0, 0, 0] {
            head.put(value as u64, 2);
        }
        head.segment(1, 0, total);
        head.segment(
            if interpreter_size > 0 { 3 } else { 0 },
            interpreter,
            interpreter_size,
        );
        head.segment(2, dynamic, total - dynamic);
        head.segment(if note_size > 0 { 4 } else { 0 }, note, note_size);
        w.out[..head.out.len()].copy_from_slice(&head.out);
        w.out
    }

    fn write_versions(&self, w: &mut Writer<'_>, entries: &mut Vec<(u64, u64)>) {
        if !self.versions_needed.is_empty() {
            entries.push((0x6fff_fffe, w.here()));
            entries.push((0x6fff_ffff, self.versions_needed.len() as u64));
        }
        for (at, (file, version, weak)) in self.versions_needed.iter().enumerate() {
            let (file, version) = (w.string(file), w.string(version));
            let next = if at + 1 == self.versions_needed.len() {
                0
            } else {
                32
            };
            for (value, size) in [(1, 2), (1, 2), (file, 4), (16, 4), (next, 4)] {
                w.put(value, size);
            }
            for (value, size) in [
                (0, 4),
                (if *weak { 2 } else { 0 }, 2),
                (2, 2),
                (version, 4),
                (0, 4),
            ] {
                w.put(value, size);
            }
        }
        if !self.versions_defined.is_empty() {
            entries.push((0x6fff_fffc, w.here()));
            entries.push((0x6fff_fffd, self.versions_defined.len() as u64 + 1));
            let names = std::iter::once(&"itself").chain(&self.versions_defined);
            for (at, name) in names.enumerate() {
                let name = w.string(name);
                let next = if at == self.versions_defined.len() { 0 } else { 28 };
                let flags = u64::from(at == 0);
                for (value, size) in [
                    (1, 2),
                    (flags, 2),
                    (at as u64 + 1, 2),
                    (1, 2),
                    (0, 4),
                    (20, 4),
                    (next, 4),
                ] {
                    w.put(value, size);
                }
                w.put(name, 4);
                w.put(0, 4);
            }
        }
    }

    fn write_symbols(&self, w: &mut Writer<'_>, entries: &mut Vec<(u64, u64)>) {
        if self.imports.is_empty() {
            return;
        }
        entries.push((6, w.here()));
        let names = std::iter::once(&"").chain(&self.imports);
        for name in names {
            let name = if name.is_empty() { 0 } else { w.string(name) };
            w.put(name, 4);
            let rest = if w.wide() { 20 } else { 12 };
            w.out.resize(w.out.len() + rest, 0);
        }
        entries.push((4, w.here()));
        w.put(0, 4);
        w.put(self.imports.len() as u64 + 1, 4);
    }

    fn write_note(&self, w: &mut Writer<'_>) -> u64 {
        let Some(text) = self.dlopen else { return 0 };
        let start = w.out.len();
        w.put(4, 4);
        w.put(text.len() as u64 + 1, 4);
        w.put(0x407c_0c0a, 4);
        w.out.extend(b"FDO\0");
        w.out.extend(text.as_bytes());
        w.out.push(0);
        let end = w.out.len().next_multiple_of(4);
        w.out.resize(end, 0);
        (end - start) as u64
    }
}
