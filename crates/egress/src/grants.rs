//! What a sandbox may use of its vaults: placeholders, and what they stand for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ostler_core::egress::SealedGrant;
use ostler_core::ids::{CredentialId, OrganizationId, WorkspaceId};
use ostler_core::resources::hosts;
use ostler_seal::open::{KeyRing, Secret};
use ostler_seal::{Binding, Bound, Hosts, Places, Sealed};

use crate::limits;
use crate::replace::Table;

/// Why a grant is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The text is no sealed secret.
    #[error("the sealed secret of {0} cannot be read")]
    Unreadable(CredentialId),
    /// It does not open.
    #[error("the secret of {0} does not open: {1}")]
    Closed(CredentialId, ostler_seal::open::OpenError),
    /// There is no room for it.
    #[error("the secrets of a session have {most} bytes at most together, and {0} does not fit", most = limits::SECRETS)]
    TooMuch(CredentialId),
    /// It belongs to somebody else, or to something else.
    #[error("the secret of {0} is sealed for another place")]
    Elsewhere(CredentialId),
}

/// A placeholder and its secret.
#[derive(Debug)]
pub struct Grant {
    /// What the sandbox sees.
    pub(crate) placeholder: String,
    /// What it stands for.
    pub(crate) secret: Secret,
    /// Whose.
    pub(crate) credential: CredentialId,
    /// Which secret of the credential it is.
    pub(crate) version: u64,
    pub(crate) hosts: Hosts,
    pub(crate) places: Places,
}

/// Opens a grant, if it is sealed for this workspace and as a variable.
pub fn opened(ring: &KeyRing, organization: &OrganizationId, workspace: &WorkspaceId, grant: SealedGrant) -> Result<Grant, GrantError> {
    let SealedGrant { placeholder, credential, sealed } = grant;
    let sealed: Sealed = sealed.parse().map_err(|_| GrantError::Unreadable(credential.clone()))?;
    let (binding, secret) = ring.open(&sealed).map_err(|error| GrantError::Closed(credential.clone(), error))?;
    let Binding { organization: of, workspace: inside, credential: named, version, bound, .. } = binding;
    let Bound::EnvironmentVariable { hosts, places, .. } = bound else { return Err(GrantError::Elsewhere(credential)) };
    if of != *organization || inside != *workspace || named != credential || placeholder.len() < limits::PLACEHOLDER_LEAST {
        return Err(GrantError::Elsewhere(credential));
    }
    Ok(Grant { placeholder, secret, credential, version, hosts, places })
}

impl Grant {
    /// Whether the secret may go to a host.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        match &self.hosts {
            Hosts::Any => true,
            Hosts::Only(allowed) => allowed.iter().any(|pattern| hosts::matches(pattern, host)),
        }
    }
}

/// The grants of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    grants: Vec<Grant>,
    scrubs: Arc<Table>,
}

impl Grants {
    pub(crate) fn new(grants: Vec<Grant>) -> Self {
        let scrubs = Table::new(grants.iter().flat_map(forms));
        Self { grants, scrubs: Arc::new(scrubs) }
    }

    /// Whether others allow the same: a secret that was sealed anew is the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Grant, &Grant)| {
            one.placeholder == other.placeholder
                && one.secret == other.secret
                && one.credential == other.credential
                && (&one.hosts, one.places) == (&other.hosts, other.places)
        };
        self.grants.len() == other.grants.len() && self.grants.iter().zip(&other.grants).all(is_same)
    }

    /// Those that may be used at a host.
    pub(crate) fn at<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Grant> + 'a {
        self.grants.iter().filter(move |grant| grant.is_for(host))
    }

    /// What is taken out of answers: every secret of the sandbox, wherever it comes back from.
    pub(crate) fn scrubs(&self) -> Arc<Table> {
        Arc::clone(&self.scrubs)
    }
}

/// The forms in which a secret comes back, and what stands there instead.
fn forms(grant: &Grant) -> Vec<(Vec<u8>, Vec<u8>)> {
    forms_of(grant.secret.expose(), grant.placeholder.as_bytes())
}

/// The same of a secret, with what stands in the place of its plain form.
pub(crate) fn forms_of(secret: &[u8], placeholder: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    // What is shorter stands in every text by chance.
    if secret.len() < limits::SCRUBBED_LEAST {
        return Vec::new();
    }
    let mut forms = vec![(secret.to_vec(), placeholder.to_vec())];
    if secret.len() < limits::SCRUBBED_ENCODED_LEAST {
        return forms;
    }
    let redacted = |form: Vec<u8>| (form, b"[redacted]".to_vec());
    forms.push(redacted(json_escaped(secret)));
    forms.push(redacted(String::from_utf8_lossy(&json_escaped(secret)).replace('/', "\\/").into_bytes()));
    forms.push(redacted(percent_encoded(secret)));
    if secret.len() <= limits::SCRUBBED_EVERY_FORM {
        forms.extend(seldom(secret).into_iter().map(redacted));
    }
    // In a longer text it may begin at any of three places; the outer characters then hold neighbours as well.
    for before in 0..3 {
        let mut shifted = vec![0; before];
        shifted.extend_from_slice(secret);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            let first = [0, 2, 3][before];
            let last = text.len() - usize::from(shifted.len() % 3 != 0);
            forms.push(redacted(text.as_bytes()[first..last].to_vec()));
        }
    }
    forms.push(redacted(STANDARD.encode(secret).into_bytes()));
    // What encodes to itself is the plain form.
    let plain = forms[0].0.clone();
    let mut encoded = forms.split_off(1);
    encoded.retain(|(form, _)| *form != plain);
    forms.extend(encoded);
    forms
}

/// Forms that some hosts answer in.
fn seldom(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        percent(secret, UNRESERVED, false),
        // What browsers leave as it is.
        percent(secret, b"-._~!'()*", true),
        // A page of an error shows an address that was passed on once more.
        percent_encoded(&percent_encoded(secret)),
        // As Go writes JSON, and others that are read by pages.
        escaped_for_scripts(&json_escaped(secret)),
        secret.iter().rev().copied().collect(),
    ];
    forms.extend([false, true].map(|upper| hex(secret, upper)));
    let usual = [(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&quot;")];
    for more in [&[(b'\'', "&#39;")][..], &[(b'\'', "&#x27;")], &[(b'\'', "&#39;"), (b'/', "&#x2F;"), (b'`', "&#x60;"), (b'=', "&#x3D;")]] {
        forms.push(html_escaped(secret, &[&usual[..], more].concat()));
    }
    forms
}

const UNRESERVED: &[u8] = b"-._~";

pub(crate) fn percent_encoded(bytes: &[u8]) -> Vec<u8> {
    percent(bytes, UNRESERVED, true)
}

fn percent(bytes: &[u8], left: &[u8], upper: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || left.contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") }.as_bytes());
        }
    }
    out
}

fn escaped_for_scripts(json: &[u8]) -> Vec<u8> {
    json.iter().flat_map(|byte| if b"&<>'".contains(byte) { format!("\\u{byte:04x}").into_bytes() } else { vec![*byte] }).collect()
}

fn json_escaped(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let quoted = serde_json::to_string(&*text).unwrap_or_default();
    quoted.trim_matches('"').as_bytes().to_vec()
}

/// As a page shows it.
fn html_escaped(bytes: &[u8], escapes: &[(u8, &str)]) -> Vec<u8> {
    let escape = |byte: &u8| escapes.iter().find(|(of, _)| of == byte).map_or_else(|| vec![*byte], |(_, to)| to.as_bytes().to_vec());
    bytes.iter().flat_map(escape).collect()
}

fn hex(bytes: &[u8], upper: bool) -> Vec<u8> {
    bytes.iter().flat_map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }.into_bytes()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use ostler_core::ids::IdSource;

    use super::*;

    pub(crate) fn grant(placeholder: &str, secret: &str, hosts: &[&str], body: bool) -> Grant {
        Grant {
            placeholder: placeholder.into(),
            secret: Secret::new(secret.into()),
            credential: CredentialId::mint(&mut IdSource::new(1, 1)),
            version: 1,
            hosts: if hosts.is_empty() { Hosts::Any } else { Hosts::Only(hosts.iter().map(|host| (*host).to_owned()).collect()) },
            places: Places { header: true, body },
        }
    }

    #[test]
    fn a_secret_is_known_in_its_forms() {
        let secret = "s3cr3t/+value='&x";
        let grants = Grants::new(vec![grant("ostler_placeholder", secret, &[], false)]);
        let scrubbed = |text: &[u8]| grants.scrubs().whole(text);
        assert_eq!(scrubbed(format!("a {secret} b").as_bytes()).unwrap(), b"a ostler_placeholder b");
        for text in [
            String::from_utf8(percent_encoded(secret.as_bytes())).unwrap(),
            STANDARD.encode(secret),
            STANDARD.encode(format!("user:{secret}")),
            STANDARD.encode(format!("me:{secret}:more")),
            URL_SAFE_NO_PAD.encode(format!("u:{secret}")),
            String::from_utf8(hex(secret.as_bytes(), false)).unwrap(),
            serde_json::to_string(&format!("<{secret}>")).unwrap(),
            "<p>s3cr3t/+value=&#39;&amp;x".to_owned(),
            "<p>s3cr3t/+value=&#x27;&amp;x".to_owned(),
            "<p>s3cr3t&#x2F;+value&#x3D;&#39;&amp;x".to_owned(),
            r"s3cr3t/+value='\u0026x".replace('\'', r"\u0027"),
            "s3cr3t%2f%2bvalue%3d%27%26x".to_owned(),
            "s3cr3t%2F%2Bvalue%3D'%26x".to_owned(),
            "?url=https%3A%2F%2Fa%2F%3Fk%3Ds3cr3t%252F%252Bvalue%253D%2527%2526x".to_owned(),
        ] {
            let found = scrubbed(text.as_bytes());
            assert!(found.is_some_and(|found| found != text.as_bytes()), "{text}");
        }
        assert_eq!(scrubbed(b"nothing of it"), None);
    }

    #[test]
    fn a_grant_opens_for_its_own_workspace_alone() {
        let mut ids = IdSource::new(2, 2);
        let (organization, workspace) = (OrganizationId::mint(&mut ids), WorkspaceId::mint(&mut ids));
        let credential = CredentialId::mint(&mut ids);
        let ring = KeyRing::new(ostler_seal::open::KeyPair::generate().unwrap(), Vec::new());
        let places = Places { header: true, body: false };
        let binding = Binding {
            organization: organization.clone(),
            workspace: workspace.clone(),
            vault: ostler_core::ids::VaultId::mint(&mut ids),
            credential: credential.clone(),
            part: "secret_value".into(),
            version: 1,
            bound: Bound::EnvironmentVariable { name: "A".into(), hosts: Hosts::Only(vec!["a.com".into()]), places },
        };
        let sealed = |binding: &Binding| ostler_seal::seal(ring.public(), binding, b"hidden").unwrap().to_string();
        let asked = |sealed: String| SealedGrant { placeholder: "ostler_0123456789".into(), credential: credential.clone(), sealed };
        let grant = opened(&ring, &organization, &workspace, asked(sealed(&binding))).unwrap();
        assert!(grant.is_for("a.com") && !grant.is_for("b.com"));
        assert_eq!(grant.secret.expose(), b"hidden");
        let other = WorkspaceId::mint(&mut ids);
        assert_eq!(opened(&ring, &organization, &other, asked(sealed(&binding))).unwrap_err(), GrantError::Elsewhere(credential.clone()));
        let bearer = Binding { bound: Bound::StaticBearer { url: "https://a.com".into() }, ..binding.clone() };
        assert!(opened(&ring, &organization, &workspace, asked(sealed(&bearer))).is_err());
        let named = Binding { credential: CredentialId::mint(&mut ids), ..binding };
        assert!(opened(&ring, &organization, &workspace, asked(sealed(&named))).is_err());
        assert!(opened(&ring, &organization, &workspace, asked("ostler1.x".into())).is_err());
    }
}
