//! Proxies as the environment names them, in the way of curl: `https_proxy`, `http_proxy`,
//! `all_proxy` and `no_proxy`, or the same in capitals. This machine is never asked through a proxy.

use ureq::http::Uri;

use super::{Scheme, Url, is_loopback};

/// The proxy for a url, by the environment of this process; the name of the variable when what stands
/// in it is none. The url of a proxy may hold a password: it is not shown.
pub(crate) fn for_url(url: &Url) -> Result<Option<String>, String> {
    chosen(url, |name| std::env::var(name).ok())
}

fn chosen(url: &Url, get: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let read = |name: &str| {
        let names = [name.to_owned(), name.to_ascii_uppercase()];
        names.into_iter().find_map(|name| {
            let value = get(&name).filter(|value| !value.trim().is_empty())?;
            Some((name, value.trim().to_owned()))
        })
    };
    let own = match url.scheme {
        Scheme::Https => "https_proxy",
        Scheme::Http => "http_proxy",
        Scheme::Ssh | Scheme::Local => return Ok(None),
    };
    let is_exempt = |(_, list): (String, String)| is_exempt(&url.host, &list);
    if is_loopback(&url.host) || read("no_proxy").is_some_and(is_exempt) {
        return Ok(None);
    }
    read(own)
        .or_else(|| read("all_proxy"))
        .map(|(name, value)| complete(&value).ok_or(name))
        .transpose()
}

/// A proxy with its scheme, which may be left out.
fn complete(value: &str) -> Option<String> {
    let whole = match value.split_once("://") {
        Some(("http" | "https", _)) => value.to_owned(),
        Some(_) => return None,
        None => format!("http://{value}"),
    };
    let uri: Uri = whole.parse().ok()?;
    let authority = uri.authority()?;
    let host_port = authority.as_str().rsplit('@').next()?;
    let is_whole = host_port == authority.host() || authority.port_u16().is_some();
    (is_whole && ureq::Proxy::new(&whole).is_ok()).then_some(whole)
}

/// Whether a host is in a list as `no_proxy` has it: names with all that ends in them, or `*`.
fn is_exempt(host: &str, list: &str) -> bool {
    list.split([',', ' ']).map(str::trim).any(|entry| {
        let entry = entry
            .trim_start_matches("*.")
            .trim_start_matches('.')
            .to_ascii_lowercase();
        let beyond = host.strip_suffix(&entry);
        entry == "*"
            || !entry.is_empty()
                && beyond.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    fn named(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let policy = Policy {
            allow_http: true,
            allow_local: false,
        };
        let url = Url::parse(url, policy).unwrap();
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        super::chosen(&url, get)
    }

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        named(url, variables).unwrap()
    }

    #[test]
    fn the_environment_names_proxies() {
        let all = [
            ("HTTPS_PROXY", "http://s"),
            ("http_proxy", "http://p"),
            ("all_proxy", "http://a"),
        ];
        assert_eq!(chosen("https://h/x", &all).unwrap(), "http://s");
        assert_eq!(chosen("http://h/x", &all).unwrap(), "http://p");
        assert_eq!(chosen("https://h/x", &all[1..]).unwrap(), "http://a");
        assert_eq!(chosen("https://h/x", &[]), None);
        assert_eq!(chosen("http://127.0.0.1/x", &all), None);
        assert_eq!(chosen("ssh://h/x", &all), None);
    }

    #[test]
    fn what_is_no_proxy_is_told_by_its_variable() {
        let named = |value: &str| named("https://h/x", &[("https_proxy", value)]);
        assert_eq!(named("u:p@h:1").unwrap().unwrap(), "http://u:p@h:1");
        assert_eq!(named("https://h").unwrap().unwrap(), "https://h");
        for bad in ["socks5://h", "http://", "http://u:p@h:x", "://", "a b"] {
            assert_eq!(named(bad), Err("https_proxy".to_owned()), "{bad}");
        }
    }

    #[test]
    fn exempt_hosts() {
        let proxied = |list: &str| {
            let all = [("https_proxy", "http://s"), ("no_proxy", list)];
            chosen("https://git.example.org/x", &all).is_some()
        };
        for list in [
            "*",
            "example.org",
            ".example.org",
            "*.example.org",
            "a, git.example.org",
            "EXAMPLE.org",
        ] {
            assert!(!proxied(list), "{list}");
        }
        for list in ["", "ample.org", "other.org", "org.example"] {
            assert!(proxied(list), "{list}");
        }
    }
}
