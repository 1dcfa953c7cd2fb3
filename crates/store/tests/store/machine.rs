//! Random work on a store, against a model: what is reachable stays, everything else goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use distil_oci::Digest;
use distil_store::{
    CacheLink, LayerId, LayerInfo, NewImage, NewRecord, Prune, RecordId, RecordKind, Resource, Store,
    Timestamp,
};
use proptest::prelude::*;

const HANDLES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Blob { handle: usize, content: u8 },
    Layer { handle: usize, commit: bool },
    Record { handle: usize, pick: u16, named: bool },
    Image { handle: usize, pick: u16 },
    HoldRecord { handle: usize, pick: u16 },
    HoldLayer { handle: usize, pick: u16 },
    RemoveImage { pick: u16 },
    RemoveRecord { pick: u16 },
    EndHandle { handle: usize },
    Collect,
    Prune,
    Shrink { limit: u16 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let handle = || 0..HANDLES;
    prop_oneof![
        3 => (handle(), 0u8..12).prop_map(|(handle, content)| Step::Blob { handle, content }),
        4 => (handle(), prop::bool::weighted(0.8)).prop_map(|(handle, commit)| Step::Layer { handle, commit }),
        4 => (handle(), any::<u16>(), prop::bool::weighted(0.8))
            .prop_map(|(handle, pick, named)| Step::Record { handle, pick, named }),
        2 => (handle(), any::<u16>()).prop_map(|(handle, pick)| Step::Image { handle, pick }),
        2 => (handle(), any::<u16>()).prop_map(|(handle, pick)| Step::HoldRecord { handle, pick }),
        1 => (handle(), any::<u16>()).prop_map(|(handle, pick)| Step::HoldLayer { handle, pick }),
        1 => any::<u16>().prop_map(|pick| Step::RemoveImage { pick }),
        1 => any::<u16>().prop_map(|pick| Step::RemoveRecord { pick }),
        3 => handle().prop_map(|handle| Step::EndHandle { handle }),
        4 => Just(Step::Collect),
        1 => Just(Step::Prune),
        1 => (0u16..400).prop_map(|limit| Step::Shrink { limit }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Default, Clone)]
struct Contents {
    layers: BTreeSet<LayerId>,
    blobs: BTreeSet<Digest>,
}

#[derive(Debug, Default)]
struct Held {
    contents: Contents,
    records: BTreeSet<RecordId>,
}

#[derive(Debug, Default)]
struct Model {
    all: Contents,
    held: [Held; HANDLES],
    records: BTreeMap<RecordId, (Contents, bool)>,
    images: BTreeMap<Digest, Contents>,
}

impl Model {
    fn is_held(&self, record: RecordId) -> bool {
        self.held.iter().any(|held| held.records.contains(&record))
    }

    /// Forgets records that neither a name nor a lease keeps, then what nothing reaches.
    fn collect(&mut self) {
        let held: BTreeSet<RecordId> = self
            .held
            .iter()
            .flat_map(|held| held.records.iter().copied())
            .collect();
        self.records.retain(|id, (_, named)| *named || held.contains(id));
        let mut reachable = Contents::default();
        let leased = self.held.iter().map(|held| &held.contents);
        let recorded = self.records.values().map(|(contents, _)| contents);
        for contents in leased.chain(recorded).chain(self.images.values()) {
            reachable.layers.extend(&contents.layers);
            reachable.blobs.extend(&contents.blobs);
        }
        self.all.layers.retain(|layer| reachable.layers.contains(layer));
        self.all.blobs.retain(|blob| reachable.blobs.contains(blob));
    }
}

fn pick<T: Clone>(from: impl ExactSizeIterator<Item = T>, number: u16) -> Option<T> {
    let length = from.len();
    (length > 0).then(|| {
        from.skip(usize::from(number) % length)
            .take(1)
            .collect::<Vec<_>>()[0]
            .clone()
    })
}

/// About half of the layers and blobs.
fn subset(contents: &Contents, number: u16) -> Contents {
    let keep = |place: usize| number >> (place % 16) & 1 == 1;
    Contents {
        layers: contents
            .layers
            .iter()
            .enumerate()
            .filter(|(place, _)| keep(*place))
            .map(|(_, l)| *l)
            .collect(),
        blobs: contents
            .blobs
            .iter()
            .enumerate()
            .filter(|(place, _)| keep(place + 7))
            .map(|(_, b)| *b)
            .collect(),
    }
}

struct Machine {
    root: std::path::PathBuf,
    handles: Vec<Option<Store>>,
    model: Model,
    clock: i64,
}

impl Machine {
    fn handle(&mut self, number: usize) -> Store {
        let root = self.root.clone();
        self.handles[number]
            .get_or_insert_with(|| Store::open(&root).expect("opens"))
            .clone()
    }

    #[expect(clippy::too_many_lines, reason = "one arm a step")]
    fn run(&mut self, step: &Step) {
        self.clock += 1;
        let now = Timestamp(self.clock);
        match *step {
            Step::Blob { handle, content } => {
                let digest = self.handle(handle).blobs().put(&[content; 10]).expect("puts");
                self.model.all.blobs.insert(digest);
                self.model.held[handle].contents.blobs.insert(digest);
            }
            Step::Layer { handle, commit } => {
                let store = self.handle(handle);
                let id = store.layers().create("").expect("creates");
                fs::write(store.layers().path(id).join("fs"), b"x").expect("writes");
                if commit {
                    store.layers().commit(&info(id)).expect("commits");
                }
                self.model.all.layers.insert(id);
                self.model.held[handle].contents.layers.insert(id);
            }
            Step::Record { handle, pick, named } => self.record(handle, pick, named, now),
            Step::Image { handle, pick } => {
                let store = self.handle(handle);
                let mut contents = subset(&self.model.held[handle].contents, pick);
                let config = store.blobs().put(&pick.to_le_bytes()).expect("puts");
                let image = NewImage {
                    config,
                    manifest: None,
                    platform: "linux/amd64".to_owned(),
                    layers: contents.layers.iter().copied().collect(),
                    blobs: contents.blobs.iter().copied().collect(),
                    created: now,
                };
                store.images().put(&image, &[], now).expect("puts");
                contents.blobs.insert(config);
                self.model.all.blobs.insert(config);
                self.model.held[handle].contents.blobs.insert(config);
                self.model.images.insert(config, contents);
            }
            Step::HoldRecord { handle, pick: number } => {
                let Some(id) = pick(self.model.records.keys(), number).copied() else {
                    return;
                };
                let whole = self.is_whole(id);
                let held = self.handle(handle).cache().hold(id, now).expect("holds");
                assert_eq!(held.is_some(), whole, "{id:?}");
                if whole {
                    self.model.held[handle].records.insert(id);
                } else {
                    self.drop_record(id);
                }
            }
            Step::HoldLayer { handle, pick: number } => {
                if let Some(id) = pick(self.model.all.layers.iter(), number).copied() {
                    assert!(self.handle(handle).hold(&[Resource::Layer(id)]).expect("holds"));
                    self.model.held[handle].contents.layers.insert(id);
                }
            }
            Step::RemoveImage { pick: number } => {
                if let Some(id) = pick(self.model.images.keys(), number).copied() {
                    self.handle(0)
                        .images()
                        .remove(&id.to_string(), false)
                        .expect("removes");
                    self.model.images.remove(&id);
                }
            }
            Step::RemoveRecord { pick: number } => {
                if let Some(id) = pick(self.model.records.keys(), number).copied() {
                    self.handle(0).cache().remove(id).expect("removes");
                    self.drop_record(id);
                }
            }
            Step::EndHandle { handle } => {
                self.handles[handle] = None;
                self.model.held[handle] = Held::default();
            }
            Step::Collect => self.collect(Prune::Nothing),
            Step::Prune => self.collect(Prune::Unused {
                all: true,
                before: None,
            }),
            Step::Shrink { limit } => self.collect(Prune::ToSize(limit.into())),
            Step::Reopen => {
                let all = std::mem::take(&mut self.handles);
                self.handles = vec![None; all.len()];
                drop(all);
                self.model.held = Default::default();
            }
        }
    }

    fn record(&mut self, handle: usize, number: u16, named: bool, now: Timestamp) {
        let contents = subset(&self.model.held[handle].contents, number);
        let record = NewRecord {
            kind: RecordKind::Regular,
            description: format!("step {number}"),
            layers: contents.layers.iter().copied().collect(),
            blobs: contents.blobs.iter().copied().collect(),
            payload: number.to_le_bytes().to_vec(),
            created: now,
        };
        let key = Digest::sha256(&number.to_le_bytes());
        let write = |graph: &distil_store::CacheGraph<'_>| {
            let id = graph.add_record(&record)?;
            if named {
                let root = graph.make_root(&Digest::sha256(b"root"))?;
                let node = graph.make_node(&key)?;
                let link = CacheLink {
                    input: 0,
                    record: &key,
                    selector: None,
                };
                graph.link(root, &link, node)?;
                graph.name_record(node, id)?;
            }
            Ok(id)
        };
        let id = self.handle(handle).cache().write(write).expect("writes");
        self.model.records.insert(id, (contents, named));
        self.model.held[handle].records.insert(id);
    }

    /// Uncommitted layers do not make a usable record.
    fn is_whole(&mut self, id: RecordId) -> bool {
        let store = self.handle(0);
        let (contents, _) = &self.model.records[&id];
        contents
            .layers
            .iter()
            .all(|layer| store.layers().get(*layer).expect("gets").is_some())
    }

    fn drop_record(&mut self, id: RecordId) {
        self.model.records.remove(&id);
        for held in &mut self.model.held {
            held.records.remove(&id);
        }
    }

    fn collect(&mut self, prune: Prune<'_>) {
        let store = self.handle(0);
        self.model.collect();
        let expected = store.collect_dry_run(prune).expect("looks");
        let report = store.collect(prune).expect("collects");
        assert_eq!(expected.records, report.records);
        assert_eq!((expected.layers, expected.blobs), (report.layers, report.blobs));
        for record in &report.records {
            assert!(!self.model.is_held(record.id), "{record:?} is in use");
            self.model.records.remove(&record.id);
        }
        if matches!(prune, Prune::Unused { .. }) {
            assert!(
                self.model.records.keys().all(|id| self.model.is_held(*id)),
                "all unused records go"
            );
        }
        self.model.collect();
        self.compare(&store);
    }

    fn compare(&self, store: &Store) {
        let layers: BTreeSet<String> = self.model.all.layers.iter().map(LayerId::to_string).collect();
        assert_eq!(names(&self.root.join("snapshots")), layers);
        let blobs: BTreeSet<String> = self.model.all.blobs.iter().map(Digest::hex).collect();
        assert_eq!(names(&self.root.join("blobs/sha256")), blobs);
        for blob in &self.model.all.blobs {
            assert!(store.blobs().contains(blob).expect("looks"));
        }
        let images: BTreeSet<Digest> = store
            .images()
            .list()
            .expect("lists")
            .iter()
            .map(|image| image.id)
            .collect();
        assert_eq!(images, self.model.images.keys().copied().collect());
        let usage = store.usage().expect("counts");
        let records: BTreeSet<RecordId> = usage.records.iter().map(|record| record.id).collect();
        assert_eq!(records, self.model.records.keys().copied().collect());
    }
}

fn info(id: LayerId) -> LayerInfo {
    LayerInfo {
        id,
        diff_id: None,
        tar_size: None,
        size: 100,
        inodes: 1,
        id_map: String::new(),
        base: None,
        extends: None,
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).expect("reads");
    entries
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn reachable_stays_and_the_rest_goes(steps in prop::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().expect("temp dir");
        let mut machine = Machine {
            root: directory.path().join("store"),
            handles: vec![None; HANDLES],
            model: Model::default(),
            clock: 0,
        };
        for step in &steps {
            machine.run(step);
        }
        machine.collect(Prune::Nothing);
        // Without anyone alive and named, nothing is left but what images and records reach.
        machine.run(&Step::Reopen);
        machine.collect(Prune::Unused { all: true, before: None });
    }
}
