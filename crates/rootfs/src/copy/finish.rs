//! The metadata of directories, which comes when everything in them is done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::{DirCopy, Engine, Target, lock};
use crate::node::{Node, Timestamp};
use crate::upper::{Metadata, UpperError};

impl Engine<'_> {
    /// One job in `dir` is done.
    pub(super) fn done(&self, dir: &Arc<DirCopy>) -> Result<(), UpperError> {
        if dir.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(dir)?;
        }
        Ok(())
    }

    /// Everything in `dir` is done: its own metadata comes last.
    pub(super) fn finish(&self, dir: &Arc<DirCopy>) -> Result<(), UpperError> {
        let mut done = Arc::clone(dir);
        loop {
            let target = lock(&done.target).clone();
            if let Some(target) = target {
                self.finish_target(&done, &target)?;
            }
            match &done.parent {
                Some(parent) if parent.pending.fetch_sub(1, Ordering::AcqRel) == 1 => {
                    let parent = Arc::clone(parent);
                    done = parent;
                }
                _ => return Ok(()),
            }
        }
    }

    fn finish_target(&self, dir: &DirCopy, target: &Target) -> Result<(), UpperError> {
        let node = dir.source.node();
        let mtime = self.spec.timestamp.unwrap_or(node.mtime);
        if dir.parent.is_none() && !target.created {
            // The top of the copy keeps what it was; only its time is the source's.
            return target.dir.set_mtime(mtime);
        }
        if self.adds() && !target.created {
            return self.finish_found(dir, target, mtime);
        }
        if !dir.selected && !target.created {
            // There for something in it: takes the source's mode, keeps its owner.
            target.dir.set_own_mode(node.mode)?;
            return target.dir.restore_mtime();
        }
        target.dir.set_own_xattrs(&dir.source.own_xattrs()?)?;
        target.dir.set_own_metadata(&self.dir_metadata(&node))
    }

    pub(super) fn dir_metadata(&self, node: &Node) -> Metadata {
        Metadata {
            owner: self.owner(node),
            mode: Some(self.spec.mode.apply(node.mode, true)),
            mtime: Some(self.spec.timestamp.unwrap_or(node.mtime)),
        }
    }

    /// A directory that a copy like this one made in the earlier layer: it is as if this one had made it.
    fn finish_found(&self, dir: &DirCopy, target: &Target, mtime: Timestamp) -> Result<(), UpperError> {
        let wanted = self.dir_metadata(&dir.source.node());
        let (found, xattrs) = target.dir.in_lower_layers()?;
        if xattrs != dir.source.own_xattrs()? {
            let path = target.dir.path().to_owned();
            return Err(UpperError::NotBelow { path });
        }
        if (found.owner(), Some(found.mode), Some(found.mtime)) == (wanted.owner, wanted.mode, wanted.mtime) {
            return target.dir.date_if_written(mtime);
        }
        target.dir.set_own_metadata(&wanted)
    }
}
