//! Pushing from the store.

use std::io;

use distil_fetch::{Body, FetchError, Method, Request, Url};
use distil_oci::{Descriptor, Reference};
use distil_store::Store;

use crate::endpoint::Endpoint;
use crate::remote::tag_or_digest;
use crate::{RegistryError, Remote};

/// What is pushed: a manifest or index, and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushImage {
    /// Type, digest and length of the manifest or index.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub manifest: Vec<u8>,
    /// Config and layers, whose bytes the store has or can make.
    pub blobs: Vec<Descriptor>,
    /// For an index: the images in it, pushed before it.
    pub parts: Vec<PushImage>,
}

impl Remote {
    /// Pushes an image: blobs that the registry lacks first, then parts of an index by digest, then the manifest
    /// under the name's tag (or its digest). Nothing points to what is not there.
    ///
    /// # Errors
    /// When the registry refuses or breaks off. What was uploaded until then stays there, without a name.
    pub fn push(&self, name: &Reference, image: &PushImage, store: &Store) -> Result<(), RegistryError> {
        let endpoint = self.endpoint(name.domain())?;
        for part in &image.parts {
            self.push(&name.clone().with_digest(part.descriptor.digest), part, store)?;
        }
        for blob in &image.blobs {
            self.push_blob(&endpoint, name, blob, store)?;
        }
        let url = parse(&endpoint.url(name.repository(), &format!("manifests/{}", tag_or_digest(name))))?;
        self.authorized(&endpoint, name, true, &|| {
            let body = Body::Bytes(image.manifest.clone());
            let request = Request::new(Method::Put, url.clone()).body(body).repeatable(true);
            Ok(request.header("Content-Type", &image.descriptor.media_type))
        })?;
        Ok(())
    }

    fn push_blob(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        blob: &Descriptor,
        store: &Store,
    ) -> Result<(), RegistryError> {
        let url = endpoint.url(name.repository(), &format!("blobs/{}", blob.digest));
        match self.authorized(endpoint, name, true, &|| Request::head(&url)) {
            Ok(_) => return Ok(()),
            Err(RegistryError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let uploads = parse(&endpoint.url(name.repository(), "blobs/uploads/"))?;
        let start = || Ok(Request::new(Method::Post, uploads.clone()).repeatable(true));
        let (_, response) = self.authorized(endpoint, name, true, &start)?;
        let document = |reason: String| RegistryError::Document {
            name: name.familiar(),
            reason,
        };
        let location = response
            .header("location")
            .ok_or_else(|| document("the upload has no address".to_owned()))?;
        let mut target = response
            .url()
            .join(location)
            .map_err(|error| document(error.to_string()))?;
        target
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let open = || {
            let blob = store.blobs().open(&blob.digest).map_err(io::Error::other)?;
            Ok(blob)
        };
        // An upload that broke must start anew at a new address, so it is not repeated here.
        self.authorized(endpoint, name, true, &|| {
            let body = Body::Stream {
                length: blob.size,
                open: Box::new(open),
            };
            let request = Request::new(Method::Put, target.clone()).body(body);
            Ok(request.header("Content-Type", "application/octet-stream"))
        })?;
        Ok(())
    }
}

fn parse(url: &str) -> Result<Url, FetchError> {
    Ok(Request::get(url)?.url().clone())
}
