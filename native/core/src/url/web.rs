//! The grammar of urls that something is downloaded from: that of remotes, with a query.

use std::fmt;

use super::{Policy, Result, Scheme, Url, UrlError, is_loopback};

/// A url whose parts passed the grammar and the policy.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Everything but the query.
    pub(crate) base: Url,
    /// What follows the question mark. It may hold a signature: it is never shown.
    query: Option<String>,
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl HttpUrl {
    /// Checks a url: https, http, `file://` or an absolute path, as far as the policy allows. A login
    /// that was taken out of it comes back.
    pub fn parse(text: &str, policy: Policy) -> Result<Self> {
        let (front, query) = halves(text);
        Self::of(Url::parse(front, policy)?, query)
    }

    fn of(base: Url, query: Option<&str>) -> Result<Self> {
        let refuse = |why: &str| Err(UrlError::of(&base.clean, why));
        if base.scheme == Scheme::Ssh {
            return refuse("the scheme must be https, http or file");
        }
        let visible = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        };
        if !query.is_none_or(visible) || !base.is_local() && !visible(&base.clean) {
            return refuse("letters outside ASCII must be written as %XX");
        }
        let query = query.map(str::to_owned);
        Ok(Self { base, query })
    }

    /// The url that a redirect from this one names.
    pub fn join(&self, location: &str, policy: Policy) -> Result<Self> {
        let joined = self.resolved(location);
        // Whoever redirects names the url: no login of ours belongs to it.
        let (front, query) = halves(&joined);
        let next = Self::of(Url::as_written(front, policy)?, query)?;
        let down = self.base.scheme == Scheme::Https && next.base.scheme != Scheme::Https;
        if down || next.base.is_local() {
            let message = "a redirect leads from https to http, or to the local disk".to_owned();
            let url = self.base.clean.clone();
            return Err(UrlError { message, url });
        }
        Ok(next)
    }

    /// RFC 3986, 5.2.
    fn resolved(&self, location: &str) -> String {
        let location = location.split('#').next().unwrap_or_default().trim();
        let (front, query) = match location.split_once('?') {
            Some((front, query)) => (front, format!("?{query}")),
            None => (location, String::new()),
        };
        let clean = &self.base.clean;
        let (scheme, rest) = clean.split_once("://").unwrap_or(("", clean));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if front.contains("://") {
            location.to_owned()
        } else if front.starts_with("//") {
            format!("{scheme}:{location}")
        } else if front.starts_with('/') {
            format!("{scheme}://{authority}{}{query}", without_dots(front))
        } else if front.is_empty() {
            format!("{clean}{query}")
        } else {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            format!(
                "{scheme}://{authority}{}{query}",
                without_dots(&format!("{dir}/{front}"))
            )
        }
    }

    /// The url as it may be shown: without user information and query.
    pub fn shown(&self) -> &str {
        &self.base.clean
    }

    /// The url as it is asked for: without user information.
    pub(crate) fn asked(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.base.clean),
            None => self.base.clean.clone(),
        }
    }

    /// Whether a secret for `other` may be sent to this url.
    pub(crate) fn shares_secrets_with(&self, other: &Self) -> bool {
        let (this, that) = (&self.base, &other.base);
        (this.scheme, &this.host, this.port) == (that.scheme, &that.host, that.port)
            && (this.scheme == Scheme::Https || is_loopback(&this.host))
    }

    /// The path of a local file.
    pub(crate) fn local_path(&self) -> Option<&std::path::Path> {
        let path = self
            .base
            .clean
            .strip_prefix("file://")
            .unwrap_or(&self.base.clean);
        self.base.is_local().then(|| std::path::Path::new(path))
    }
}

/// A url before and after its question mark. In the path of a file it is a letter like others.
fn halves(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((front, query)) if !text.starts_with('/') && !text.starts_with("file:") => {
            (front, Some(query))
        }
        _ => (text, None),
    }
}

/// RFC 3986, 5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or_default();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let slash = if matches!(last, "." | "..") { "/" } else { "" };
    format!("/{}{slash}", parts.join("/"))
}

/// Fuzz entry: any text is a url or refused, also as a redirect, and nothing secret is shown.
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let open = Policy {
        allow_http: true,
        allow_local: true,
    };
    if let Ok(url) = HttpUrl::parse(text, open) {
        assert!(HttpUrl::parse(&url.asked(), open).is_ok());
    }
    for base in ["https://h/a/b?q", "http://127.0.0.1:1/a"] {
        let base = HttpUrl::parse(base, Policy::default()).expect("a good url");
        if let Ok(next) = base.join(text, open) {
            assert!(next.base.scheme == Scheme::Https || base.base.scheme == Scheme::Http);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Policy = Policy {
        allow_http: false,
        allow_local: false,
    };

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text, CLOSED).unwrap()
    }

    fn joined(base: &str, location: &str) -> String {
        url(base).join(location, CLOSED).unwrap().asked()
    }

    #[test]
    fn redirects_are_resolved() {
        let base = "https://h:8443/a/b?old=1";
        assert_eq!(joined(base, "c?x=1#y"), "https://h:8443/a/c?x=1");
        assert_eq!(joined(base, "../../../c"), "https://h:8443/c");
        assert_eq!(joined(base, "/c/./d/.."), "https://h:8443/c/");
        assert_eq!(joined(base, "//other/c"), "https://other/c");
        assert_eq!(joined(base, "?new"), "https://h:8443/a/b?new");
        assert_eq!(
            joined(base, "https://else/x?t=https://y/z"),
            "https://else/x?t=https://y/z"
        );
        assert_eq!(joined("http://127.0.0.1:1/x", "https://h/y"), "https://h/y");
    }

    #[test]
    fn redirects_lead_nowhere_else() {
        for bad in [
            "http://127.0.0.1/x",
            "http://h/x",
            "file:///etc/passwd",
            "ssh://h/x",
        ] {
            assert!(url("https://h/a").join(bad, CLOSED).is_err(), "{bad}");
        }
        let open = Policy {
            allow_http: true,
            allow_local: true,
        };
        for bad in ["http://h/x", "file:///etc/passwd"] {
            let error = url("https://h/a").join(bad, open).unwrap_err();
            assert!(error.message.starts_with("a redirect leads"), "{error}");
        }
    }

    #[test]
    fn a_query_is_not_shown() {
        let url = url("https://u:canary@h/a?sig=canary");
        assert_eq!(url.asked(), "https://h/a?sig=canary");
        assert!(!format!("{url:?}").contains("canary"));
        for bad in [
            "https://h/a?canary=ä",
            "ssh://h/a?canary",
            "https://h/ä?canary",
            "http://h/a?canary",
        ] {
            let error = HttpUrl::parse(bad, CLOSED).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn secrets_stay_with_their_host() {
        let base = url("https://h/a");
        assert!(url("https://h/b").shares_secrets_with(&base));
        for other in ["https://h:444/a", "https://i/a", "http://127.0.0.1/a"] {
            assert!(!url(other).shares_secrets_with(&base), "{other}");
        }
        let open = Policy {
            allow_http: true,
            allow_local: true,
        };
        let plain = HttpUrl::parse("http://h/a", open).unwrap();
        assert!(!plain.shares_secrets_with(&plain));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_url_or_refused(text in "\\PC{0,60}", front in "(https?://[a-z@:]{0,9}|file://|/|//|\\?)?") {
            fuzz(format!("{front}{text}").as_bytes());
        }
    }
}
