//! One client for one job: requests with redirects, credentials and limits on time.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Request, header};
use ureq::{Agent, Proxy};

use crate::git::auth::Auth;
use crate::job::Control;
use crate::url::Secret;

use super::error::{HttpError, Kind, Result};
use super::trust;
use crate::url::HttpUrl;

/// How long name resolution by a proxy, connecting and TLS may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the server may be silent. The job has a deadline of its own.
const SILENCE: Duration = Duration::from_secs(30);

const MAX_REDIRECTS: usize = 5;

/// Makes requests until its job must stop; then what is under way fails at once.
pub struct Client {
    agent: Agent,
    auth: Auth,
    control: Arc<Control>,
}

/// One request.
#[derive(Clone)]
pub struct Get {
    url: String,
    headers: Vec<(&'static str, String)>,
    authorization: Option<Secret>,
}

impl Get {
    /// A plain request for a url.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            headers: Vec::new(),
            authorization: None,
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with this value of the header `authorization`, for the url's own host. Without it the
    /// client's credentials are used where they are meant for the host.
    #[must_use]
    pub fn authorization(mut self, value: Secret) -> Self {
        self.authorization = Some(value);
        self
    }

    /// The same, for an answer of status 304 when the content still has this tag.
    #[must_use]
    pub fn unless_etag(self, etag: &str) -> Self {
        self.header("if-none-match", etag)
    }

    /// The same for what follows the first bytes, as long as the content is the one of the validator.
    #[must_use]
    pub(super) fn from(self, offset: u64, validator: Option<&str>) -> Self {
        let ranged = self.header("range", format!("bytes={offset}-"));
        match validator {
            Some(validator) => ranged.header("if-range", validator),
            None => ranged,
        }
    }

    /// The url, as it was given.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Client {
    /// A client with these credentials, CA file and policy, for the job that the control belongs to.
    pub fn new(auth: &Auth, control: &Arc<Control>) -> Result<Self> {
        let config = Agent::config_builder()
            .tls_config(trust::config(auth.ca_file.as_deref())?)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .user_agent(concat!("bc_gitops/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity");
        let agent = Agent::new_with_config(config.build());
        let stopped = agent.clone();
        control.on_stop(move || stopped.clone().shutdown());
        Ok(Self {
            agent,
            auth: auth.clone(),
            control: Arc::clone(control),
        })
    }

    /// The control of the job that the client belongs to.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Checks a url by the client's policy.
    pub(super) fn parse(&self, url: &str) -> Result<HttpUrl> {
        Ok(HttpUrl::parse(url, self.auth.policy)?)
    }

    /// Asks for a url and follows redirects. Success, 304 and 416 are answers, other statuses errors.
    pub fn get(&self, get: &Get) -> Result<Response> {
        let first = self.parse(&get.url)?;
        let auth = self.auth.bound_to(&first.base);
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let once = || self.once(get, &first, &url, &auth);
            let response = once()
                .or_else(|error| match error.kind {
                    // A connection that was kept may be gone on the other side.
                    Kind::Broken => once(),
                    _ => Err(error),
                })
                .map_err(|error| error.about(url.shown()))?;
            match response.status {
                301 | 302 | 303 | 307 | 308 => url = self.redirected(&url, &response)?,
                200..=299 | 304 | 416 => return Ok(response),
                status => return Err(HttpError::of_status(status).about(url.shown())),
            }
        }
        let message = format!("more than {MAX_REDIRECTS} redirects, one after the other");
        Err(HttpError::new(Kind::Redirect, message).about(first.shown()))
    }

    fn redirected(&self, url: &HttpUrl, response: &Response) -> Result<HttpUrl> {
        let location = response.header("location").ok_or_else(|| {
            HttpError::new(Kind::Protocol, "a redirect that names no url").about(url.shown())
        })?;
        let joined = url.join(location, self.auth.policy);
        joined.map_err(|error| {
            let message = format!("a redirect is not followed: {}", error.message);
            HttpError::new(Kind::Redirect, message).about(&error.url)
        })
    }

    fn once(&self, get: &Get, first: &HttpUrl, url: &HttpUrl, auth: &Auth) -> Result<Response> {
        self.control.check()?;
        if url.base.is_local() {
            return Err(HttpError::new(
                Kind::BadUrl,
                "the scheme must be https or http",
            ));
        }
        let mut request = Request::get(url.asked());
        for (name, value) in &get.headers {
            request = request.header(*name, value);
        }
        if let Some(Secret(value)) = authorization(get, first, url, auth)? {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request
            .body(())
            .map_err(|_| HttpError::new(Kind::BadUrl, "the url holds what no request can carry"))?;
        let agent = &self.agent;
        let answer = match proxy(url)? {
            Some(proxy) => agent.run(agent.configure_request(request).proxy(Some(proxy)).build()),
            None => agent.run(request),
        };
        let answer = answer.map_err(|error| self.failure(&error))?;
        let (parts, body) = answer.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Box::new(body.into_reader()),
            url: url.shown().to_owned(),
            control: Arc::clone(&self.control),
        })
    }

    /// A call that ends because the job must stop has no other reason.
    fn failure(&self, error: &ureq::Error) -> HttpError {
        match self.control.check() {
            Err(stop) => stop.into(),
            Ok(()) => HttpError::of_client(error),
        }
    }
}

fn proxy(url: &HttpUrl) -> Result<Option<Proxy>> {
    let unusable = |name: String| {
        let why = format!("the environment variable {name} names no http proxy");
        HttpError::new(Kind::Unreachable, why)
    };
    let named = crate::url::proxy::for_url(&url.base).map_err(unusable)?;
    Ok(named.and_then(|proxy| Proxy::new(&proxy).ok()))
}

/// The header that shows who asks.
fn authorization(get: &Get, first: &HttpUrl, url: &HttpUrl, auth: &Auth) -> Result<Option<Secret>> {
    if !url.shares_secrets_with(first) {
        return Ok(None);
    }
    if let Some(value) = &get.authorization {
        return Ok(Some(value.clone()));
    }
    if !auth.has_password_for(&first.base) {
        return Ok(None);
    }
    let (user, Secret(password)) = auth.basic(&first.base)?;
    let pair = crate::base64::encode_padded(format!("{user}:{password}").as_bytes());
    Ok(Some(Secret(format!("Basic {pair}"))))
}

/// The answer to a request.
pub struct Response {
    /// The status.
    pub status: u16,
    headers: HeaderMap,
    body: Box<dyn Read>,
    url: String,
    control: Arc<Control>,
}

impl Response {
    /// The first header of this name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the body is, when the server says so.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The next bytes of the body; none at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.control.check()?;
        let read = self.body.read(buffer);
        // A connection that was ended because of a stop may look like the end of a body.
        self.control.check()?;
        read.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            inner
                .map_or_else(|| HttpError::of_connection(&error), HttpError::of_client)
                .about(&self.url)
        })
    }

    /// The whole body, which is no longer than this.
    pub fn bytes(mut self, max: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(all),
                count if all.len() + count > max => {
                    let message = format!("the server sends more than {max} bytes");
                    return Err(HttpError::new(Kind::TooLarge, message).about(&self.url));
                }
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
