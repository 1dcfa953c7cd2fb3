//! The graph that a caller hands over.

use std::collections::HashMap;
use std::sync::Arc;

use distil_oci::Digest;

use crate::error::GraphError;
use crate::op::Op;

/// A vertex's place in its [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexIndex(pub(crate) u32);

/// One numbered output of one vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who makes it.
    pub vertex: VertexIndex,
    /// Which of its outputs.
    pub output: u32,
}

impl Edge {
    /// The output `output` of `vertex`.
    #[must_use]
    pub const fn new(vertex: VertexIndex, output: u32) -> Self {
        Self { vertex, output }
    }
}

/// Something to be done, with what it needs.
#[derive(Clone)]
pub struct Vertex {
    /// Identity: two vertices of one digest are one and run once, also in different builds of one [`crate::Solver`].
    pub digest: Digest,
    /// Shown to users.
    pub name: String,
    /// The outputs it needs, in the op's own order.
    pub inputs: Vec<Edge>,
    /// What it does.
    pub op: Arc<dyn Op>,
    /// No record is looked up for it; what it makes is recorded all the same. It is never joined with a vertex of the
    /// same digest that does use the cache.
    pub ignore_cache: bool,
}

/// Vertices in topological order, free of cycles by construction: an input can only name a vertex added before.
#[derive(Clone, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
    by_identity: HashMap<(Digest, bool), VertexIndex>,
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or gives the place of the one added before with the same digest and `ignore_cache`.
    ///
    /// # Errors
    /// [`GraphError::UnknownInput`] when an input names a vertex that was not added before, [`GraphError::TooLarge`]
    /// beyond 2^32 vertices.
    pub fn add(&mut self, vertex: Vertex) -> Result<VertexIndex, GraphError> {
        let identity = (vertex.digest, vertex.ignore_cache);
        if let Some(&index) = self.by_identity.get(&identity) {
            return Ok(index);
        }
        for edge in &vertex.inputs {
            if edge.vertex.0 as usize >= self.vertices.len() {
                return Err(GraphError::UnknownInput {
                    vertex: vertex.name,
                    index: edge.vertex.0,
                });
            }
        }
        let index = u32::try_from(self.vertices.len()).map_err(|_| GraphError::TooLarge)?;
        let index = VertexIndex(index);
        self.vertices.push(vertex);
        self.by_identity.insert(identity, index);
        Ok(index)
    }

    /// The vertex at `index`, when it is one of this graph.
    #[must_use]
    pub fn get(&self, index: VertexIndex) -> Option<&Vertex> {
        self.vertices.get(index.0 as usize)
    }

    /// How many vertices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there is no vertex.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The vertices that `targets` need, inputs first.
    pub(crate) fn reachable(&self, targets: &[Edge]) -> Result<Vec<VertexIndex>, GraphError> {
        let mut wanted = vec![false; self.vertices.len()];
        for edge in targets {
            let slot = wanted.get_mut(edge.vertex.0 as usize);
            *slot.ok_or(GraphError::UnknownTarget { index: edge.vertex.0 })? = true;
        }
        // Inputs come before their users, so one pass from the end reaches everything.
        for at in (0..self.vertices.len()).rev() {
            if wanted[at] {
                for edge in &self.vertices[at].inputs {
                    wanted[edge.vertex.0 as usize] = true;
                }
            }
        }
        let indices = (0..self.vertices.len() as u32).map(VertexIndex);
        Ok(indices.filter(|index| wanted[index.0 as usize]).collect())
    }
}
