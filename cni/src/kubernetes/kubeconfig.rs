//! Credentials for the API server, from a kubeconfig.
//!
//! Taken: `server` (https), `certificate-authority` or `insecure-skip-tls-verify`, `token` or
//! `tokenFile`, `client-certificate` and `client-key`, each in the file or beside it. What would run a
//! program or go by another way (`exec`, `auth-provider`, `proxy-url`, passwords) is refused. Errors
//! name keys, never what they say.
//!
//! Spec: Kubernetes, kubeconfig (v1) `Config`.

use crate::conf::Secret;
use crate::error::CniError;
use crate::state::read_file;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use yaml_rust2::parser::Parser;
use yaml_rust2::{Event, Yaml, YamlLoader};

/// Most levels of lists and mappings in each other.
const DEPTH_MAX: usize = 16;
/// What a cluster may not say: it changes who is asked.
const REFUSED_OF_CLUSTER: &[&str] = &["proxy-url", "tls-server-name"];
/// What a user may not say: it changes as whom we ask.
const REFUSED_OF_USER: &[&str] =
    &["exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups"];

/// Whom to ask, and as whom.
#[derive(Debug)]
pub(super) struct Kubeconfig {
    /// `https://HOST[:PORT][/PATH]`, without a slash at the end.
    pub(super) server: String,
    /// Whom to trust, and the client's certificate.
    pub(super) tls: TlsConfig,
    /// The bearer token; may be empty.
    pub(super) token: Secret,
}

impl Kubeconfig {
    /// Reads a kubeconfig, in its current context.
    ///
    /// # Errors
    /// Code 7.
    pub(super) fn read(path: &Path) -> Result<Self, CniError> {
        Reader { path }.read()
    }
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn read(&self) -> Result<Kubeconfig, CniError> {
        if !self.path.is_absolute() {
            return Err(self.refused("not an absolute path"));
        }
        let text = self.file(self.path, "it")?;
        let text = String::from_utf8(text).map_err(|_| self.refused("it is no text"))?;
        if !is_simple(&text) {
            return Err(self.refused("it has aliases, or too many levels"));
        }
        let documents = YamlLoader::load_from_str(&text).map_err(|e| {
            let (line, column) = (e.marker().line(), e.marker().col());
            self.refused(&format!("it is no YAML: line {line}, column {column}"))
        })?;
        let config = documents.first().unwrap_or(&Yaml::BadValue);
        let context = self.named(config, "contexts", "context", &config["current-context"])?;
        let cluster = self.named(config, "clusters", "cluster", &context["cluster"])?;
        let user = self.named(config, "users", "user", &context["user"])?;
        for (node, keys) in [(cluster, REFUSED_OF_CLUSTER), (user, REFUSED_OF_USER)] {
            if let Some(key) = keys.iter().find(|key| is_given(&node[**key])) {
                return Err(self.refused(&format!("{key} is not supported: leave it out")));
            }
        }
        Ok(Kubeconfig {
            server: self.server(cluster)?,
            tls: self.tls(cluster, user)?,
            token: self.token(user)?,
        })
    }

    /// The member `key` of the element of `list` that has a name.
    fn named<'y>(
        &self,
        config: &'y Yaml,
        list: &str,
        key: &str,
        name: &Yaml,
    ) -> Result<&'y Yaml, CniError> {
        let elements = config[list].as_vec().map(Vec::as_slice).unwrap_or_default();
        let found = elements.iter().find(|element| is_given(name) && element["name"] == *name);
        let found = found.map(|element| &element[key]).filter(|found| found.as_hash().is_some());
        found.ok_or_else(|| self.refused(&format!("the current context has no {key}")))
    }

    fn server(&self, cluster: &Yaml) -> Result<String, CniError> {
        let server = cluster["server"].as_str().unwrap_or_default().trim_end_matches('/');
        let uri: Option<Uri> = server.parse().ok();
        let usable = |uri: &Uri| {
            let host = uri.host().is_some_and(|host| !host.is_empty());
            uri.scheme_str() == Some("https") && host && uri.query().is_none()
        };
        if server.contains('@') || !uri.as_ref().is_some_and(usable) {
            return Err(self.refused("server is not https://HOST[:PORT][/PATH]"));
        }
        Ok(server.to_owned())
    }

    fn token(&self, user: &Yaml) -> Result<Secret, CniError> {
        let token = if is_given(&user["tokenFile"]) {
            let file = self.path_of(user, "tokenFile")?;
            String::from_utf8(self.file(&file, "tokenFile")?).unwrap_or_else(|_| "\u{0}".to_owned())
        } else if is_given(&user["token"]) {
            user["token"].as_str().unwrap_or("\u{0}").to_owned()
        } else {
            String::new()
        };
        let token = token.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.refused("the token is none"));
        }
        Ok(Secret(token.to_owned()))
    }

    fn tls(&self, cluster: &Yaml, user: &Yaml) -> Result<TlsConfig, CniError> {
        let provider = Arc::new(ring::default_provider());
        let insecure = cluster["insecure-skip-tls-verify"].as_bool().unwrap_or(false);
        let authorities = match self.material(cluster, "certificate-authority")? {
            Some(pem) => self.certificates(&pem, "certificate-authority")?,
            None if insecure => Vec::new(),
            None => return Err(self.refused("certificate-authority is missing")),
        };
        if insecure {
            tracing::warn!("kubeconfig: anybody may pose as the API server");
        }
        let authorities: Vec<_> = authorities.iter().map(as_certificate).collect();
        Ok(TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&authorities))
            .client_cert(self.client_certificate(user, &provider)?)
            .disable_verification(insecure)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }

    fn client_certificate(
        &self,
        user: &Yaml,
        provider: &Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Option<ClientCert>, CniError> {
        let chain = self.material(user, "client-certificate")?;
        let key = self.material(user, "client-key")?;
        let (chain, key) = match (chain, key) {
            (None, None) => return Ok(None),
            (Some(chain), Some(key)) => (chain, key),
            _ => return Err(self.refused("client-certificate and client-key go together")),
        };
        let chain = self.certificates(&chain, "client-certificate")?;
        let no_key = || self.refused("client-key is no private key");
        let der = PrivateKeyDer::from_pem_slice(&key).map_err(|_| no_key())?;
        let key = PrivateKey::from_pem(&key).map_err(|_| no_key())?;
        // The client library takes for granted that this goes well.
        rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_root_certificates(rustls::RootCertStore::empty());
                builder.with_client_auth_cert(chain.clone(), der)
            })
            .map_err(|_| self.refused("client-key does not fit client-certificate"))?;
        let chain: Vec<_> = chain.iter().map(as_certificate).collect();
        Ok(Some(ClientCert::new_with_certs(&chain, key)))
    }

    fn certificates(
        &self,
        pem: &[u8],
        key: &str,
    ) -> Result<Vec<CertificateDer<'static>>, CniError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.ok().filter(|found| !found.is_empty());
        found.ok_or_else(|| self.refused(&format!("{key} holds no certificates")))
    }

    /// What `KEY-data` holds, or the file that `KEY` names.
    fn material(&self, node: &Yaml, key: &str) -> Result<Option<Vec<u8>>, CniError> {
        let data = &node[format!("{key}-data").as_str()];
        if is_given(data) {
            let decoded = data.as_str().and_then(|text| BASE64_STANDARD.decode(text.trim()).ok());
            let no_base64 = || self.refused(&format!("{key}-data is no base64"));
            return decoded.map(Some).ok_or_else(no_base64);
        }
        if !is_given(&node[key]) {
            return Ok(None);
        }
        let path = self.path_of(node, key)?;
        self.file(&path, key).map(Some)
    }

    /// A file that is named relative to the kubeconfig.
    fn path_of(&self, node: &Yaml, key: &str) -> Result<std::path::PathBuf, CniError> {
        let name = node[key].as_str().ok_or_else(|| self.refused(&format!("{key} is no path")))?;
        Ok(self.path.parent().unwrap_or(self.path).join(name))
    }

    fn file(&self, path: &Path, what: &str) -> Result<Vec<u8>, CniError> {
        read_file(path).map_err(|e| self.refused(&format!("{what} cannot be read: {e}")))
    }

    fn refused(&self, reason: &str) -> CniError {
        CniError::refused("kubeconfig", self.path.display(), reason)
    }
}

/// Whether a text has neither aliases, which can make much of little, nor levels that a kubeconfig does
/// not have. What is no YAML is the loader's matter.
fn is_simple(text: &str) -> bool {
    let mut parser = Parser::new_from_str(text);
    let mut depth = 0_usize;
    loop {
        match parser.next_token() {
            Ok((Event::Alias(..), _)) => return false,
            Ok((Event::SequenceStart(..) | Event::MappingStart(..), _)) => depth += 1,
            Ok((Event::SequenceEnd | Event::MappingEnd, _)) => depth = depth.saturating_sub(1),
            Ok((Event::StreamEnd, _)) | Err(_) => return true,
            Ok(_) => {}
        }
        if depth > DEPTH_MAX {
            return false;
        }
    }
}

fn as_certificate(der: &CertificateDer<'static>) -> Certificate<'static> {
    Certificate::from_der(der).to_owned()
}

/// Empty is as good as absent.
fn is_given(node: &Yaml) -> bool {
    !matches!(node, Yaml::BadValue | Yaml::Null) && node.as_str() != Some("")
}
