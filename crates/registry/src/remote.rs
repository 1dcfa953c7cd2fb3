//! The client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use distil_fetch::{Client, FetchError, Redacted, Request, Response};
use distil_oci::{Descriptor, Digest, Reference, media_type};

use crate::auth::{Auth, Scope};
use crate::endpoint::{Endpoint, api_host, is_loopback};
use crate::{Credentials, RegistryError};

/// Largest manifest or index, in bytes; registries must take 4 MiB.
pub(crate) const MAX_MANIFEST: u64 = 8 << 20;

/// Settings of a [`Remote`].
#[derive(Debug, Clone, Default)]
pub struct RemoteConfig {
    /// Registries, named as in image names, that may be spoken to in plain http when https fails there. Loopback
    /// hosts always may.
    pub insecure: Vec<String>,
    /// For a registry, named as in image names, the addresses (`https://mirror.example`) that are asked before it.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// Talks to registries. Shared by threads; tokens and logins are kept as long as it lives.
#[derive(Debug)]
pub struct Remote {
    pub(crate) client: Client,
    pub(crate) auth: Auth,
    config: RemoteConfig,
    /// The scheme that a host speaks, once it was found.
    schemes: Mutex<BTreeMap<String, &'static str>>,
}

impl Remote {
    /// A client that logs in with these credentials where it is asked to.
    #[must_use]
    pub fn new(client: Client, credentials: Arc<dyn Credentials>, config: RemoteConfig) -> Self {
        let auth = Auth::new(client.clone(), credentials);
        Self {
            client,
            auth,
            config,
            schemes: Mutex::default(),
        }
    }

    /// What a name means now: the descriptor of its manifest or index. A digest in the name is asked for, not the
    /// tag.
    ///
    /// Docker Hub does not count this as a pull.
    ///
    /// # Errors
    /// When the registry cannot be reached, refuses, or has no such image.
    pub fn resolve(&self, name: &Reference) -> Result<Descriptor, RegistryError> {
        self.at_endpoints(name, |endpoint| {
            let rest = format!("manifests/{}", tag_or_digest(name));
            let head = |url: &str| Ok(manifest_accept(Request::head(url)?));
            let described = match self.call(endpoint, name, false, &head, &rest) {
                // Old registries and mirrors leave the headers out.
                Ok(response) => described(&response, name),
                // Some do not know HEAD. And an answer to GET has words, one to HEAD has not.
                Err(
                    RegistryError::NotFound { .. }
                    | RegistryError::Status {
                        status: 405 | 501, ..
                    },
                ) => None,
                Err(error) => return Err(error),
            };
            match described {
                Some(descriptor) => Ok(descriptor),
                None => self
                    .document(endpoint, name, &rest)
                    .map(|(descriptor, _)| descriptor),
            }
        })
    }

    /// The bytes of the manifest or index that a name means now, with their descriptor.
    ///
    /// # Errors
    /// As [`Remote::resolve`], and when a digest in the name is not that of what came.
    pub fn manifest(&self, name: &Reference) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let rest = format!("manifests/{}", tag_or_digest(name));
        self.at_endpoints(name, |endpoint| self.document(endpoint, name, &rest))
    }

    fn document(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        rest: &str,
    ) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let response = self.call(
            endpoint,
            name,
            false,
            &|url| Ok(manifest_accept(Request::get(url)?)),
            rest,
        )?;
        let said = response.header("content-type").unwrap_or_default();
        let media_type = said.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = response.bytes(MAX_MANIFEST)?;
        let found = Digest::sha256(&bytes);
        if let Some(expected) = name.digest().filter(|expected| *expected != found) {
            return Err(RegistryError::Digest {
                name: name.familiar(),
                expected,
                found,
            });
        }
        Ok((Descriptor::of(&manifest_type(&media_type, &bytes), &bytes), bytes))
    }

    /// Does something at the mirrors and then at the registry, until it succeeds. The registry's error is the one
    /// that counts.
    pub(crate) fn at_endpoints<T>(
        &self,
        name: &Reference,
        act: impl Fn(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        for mirror in self.config.mirrors.get(name.domain()).into_iter().flatten() {
            let base = mirror.trim_end_matches('/').to_owned();
            let login = base
                .split_once("://")
                .map_or(base.as_str(), |(_, host)| host)
                .to_owned();
            let endpoint = Endpoint {
                base,
                login,
                namespace: Some(name.domain().to_owned()),
            };
            if let Ok(done) = act(&endpoint) {
                return Ok(done);
            }
        }
        act(&self.endpoint(name.domain())?)
    }

    /// The registry itself.
    pub(crate) fn endpoint(&self, domain: &str) -> Result<Endpoint, RegistryError> {
        let host = api_host(domain);
        let scheme = self.scheme(domain, host)?;
        Ok(Endpoint {
            base: format!("{scheme}://{host}"),
            login: domain.to_owned(),
            namespace: None,
        })
    }

    /// `https`, or `http` where that is allowed and https gets no answer.
    fn scheme(&self, domain: &str, host: &str) -> Result<&'static str, RegistryError> {
        if !is_loopback(host) && !self.config.insecure.iter().any(|insecure| insecure == domain) {
            return Ok("https");
        }
        if let Some(scheme) = self
            .schemes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
        {
            return Ok(scheme);
        }
        let probe = Request::get(&format!("https://{host}/v2/"))?.repeatable(false);
        let scheme = match self.client.send(&probe) {
            Ok(_) => "https",
            // It does speak https; its certificate is what has to be mended.
            Err(FetchError::Certificate { .. }) => "https",
            Err(FetchError::Offline { url }) => return Err(FetchError::Offline { url }.into()),
            Err(_) => "http",
        };
        self.schemes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(host.to_owned(), scheme);
        Ok(scheme)
    }

    /// Sends a request about a repository, and once more with a login if it is asked for. Any status but 2xx is an
    /// error.
    pub(crate) fn call(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        push: bool,
        request: &dyn Fn(&str) -> Result<Request<'static>, FetchError>,
        rest: &str,
    ) -> Result<Response, RegistryError> {
        let url = endpoint.url(name.repository(), rest);
        let (_, response) = self.authorized(endpoint, name, push, &|| request(&url))?;
        Ok(response)
    }

    /// [`Remote::call`] with the request that was accepted, for repeating it.
    pub(crate) fn authorized<'a>(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        push: bool,
        request: &dyn Fn() -> Result<Request<'a>, FetchError>,
    ) -> Result<(Request<'a>, Response), RegistryError> {
        let scope = Scope {
            repository: name.repository().to_owned(),
            push,
        };
        let mut known = request()?;
        if let Some(value) = self.auth.known(endpoint, &scope) {
            known = with_authorization(known, &value);
        }
        let response = self.client.send(&known)?;
        if response.status() != 401 {
            return self.accepted(endpoint, name, known, response);
        }
        let challenges: Vec<String> = response.headers("www-authenticate").map(str::to_owned).collect();
        if challenges.is_empty() {
            return self.accepted(endpoint, name, known, response);
        }
        let Some(value) = self.auth.answer(endpoint, &scope, &challenges)? else {
            return self.accepted(endpoint, name, known, response);
        };
        let again = with_authorization(request()?, &value);
        let response = self.client.send(&again)?;
        self.accepted(endpoint, name, again, response)
    }

    fn accepted<'a>(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        request: Request<'a>,
        response: Response,
    ) -> Result<(Request<'a>, Response), RegistryError> {
        if (200..300).contains(&response.status()) {
            return Ok((request, response));
        }
        let logged_in = self.auth.logged_in(endpoint);
        Err(RegistryError::of(
            response,
            &endpoint.login,
            &name.familiar(),
            logged_in,
        ))
    }
}

fn with_authorization<'a>(request: Request<'a>, value: &Redacted<String>) -> Request<'a> {
    request.header("Authorization", value.reveal())
}

pub(crate) fn tag_or_digest(name: &Reference) -> String {
    match (name.digest(), name.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

fn manifest_accept(request: Request<'static>) -> Request<'static> {
    use media_type::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
    request.header(
        "Accept",
        &[INDEX, DOCKER_LIST, MANIFEST, DOCKER_MANIFEST].join(", "),
    )
}

/// What the headers of an answer to HEAD tell, if they tell enough.
fn described(response: &Response, name: &Reference) -> Option<Descriptor> {
    let digest: Digest = response.header("docker-content-digest")?.trim().parse().ok()?;
    let media_type = response.header("content-type")?.split(';').next()?.trim();
    let fits = media_type::is_index(media_type) || media_type::is_manifest(media_type);
    if !fits || name.digest().is_some_and(|expected| expected != digest) {
        return None;
    }
    Some(Descriptor::new(media_type, digest, response.content_length()?))
}

/// The type of a document: what it says itself, else what its shape says, else what the server says.
pub(crate) fn manifest_type(said: &str, bytes: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let own = document
        .get("mediaType")
        .and_then(|value| value.as_str())
        .unwrap_or_default();
    let kinds = [own, said];
    if let Some(kind) = kinds
        .iter()
        .find(|kind| media_type::is_index(kind) || media_type::is_manifest(kind))
    {
        return (*kind).to_owned();
    }
    if document.get("manifests").is_some() {
        return media_type::INDEX.to_owned();
    }
    if document.get("config").is_some() && document.get("layers").is_some() {
        return media_type::MANIFEST.to_owned();
    }
    said.to_owned()
}
