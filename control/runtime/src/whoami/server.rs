//! The HTTP server, and the life of the serving process.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::answer::{Answer, Identity};
use super::body::Content;
use super::options::{Serve, duration};
use super::udp;

/// Connections that may wait for being accepted.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept: too many open files do not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Time in which a client with an open connection may send its next request when the server is about to end.
const LAST_CALL: Duration = Duration::from_millis(300);
/// Time for the client to close its side.
const PART: Duration = Duration::from_secs(1);

struct Server {
    identity: Identity,
    options: Serve,
    started: Instant,
    /// What /healthz was told to answer; 0: what the options say.
    health: AtomicU16,
}

/// Serves until SIGTERM or SIGINT; everything begun is answered before.
pub fn serve(options: &Serve) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: &Serve) -> io::Result<ExitCode> {
    let started = Instant::now();
    // Before anything else: as first process of its namespace it would not notice these otherwise.
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(stop);
    tokio::select! {
        () = sleep(options.start_delay) => {}
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    }
    if options.fail_start {
        eprintln!("whoami: failing the start as asked");
        return Ok(ExitCode::FAILURE);
    }
    let identity = Identity::of_environment(&options.report_version);
    let udp_port = options.udp_port.unwrap_or(options.port);
    let echo = udp::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, udp_port)))?;
    let listener = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.port)))?;
    println!("whoami: listening on tcp {} udp {}", listener.local_addr()?, echo.get_ref().local_addr()?);
    let server = Arc::new(Server {
        identity: identity.clone(),
        options: options.clone(),
        started,
        health: AtomicU16::new(0),
    });
    let exit = async {
        match options.exit_after {
            Some(after) => sleep_until(started + after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = server.accept(listener, stop) => done.map(|()| ExitCode::SUCCESS),
        failed = udp::echo(&echo, &identity) => failed.map(|()| ExitCode::FAILURE),
        () = exit => Ok(ExitCode::from(options.exit_code)),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Accepts until `stop`, then takes what already waits, closes the listener, and sees every connection
    /// to its end: requests that are being answered are finished, one that comes with the last call is answered
    /// with word that it was the last, and idle connections are closed.
    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (closing, _) = watch::channel(false);
        let mut connections = JoinSet::new();
        let shutdown_delay = self.options.shutdown_delay;
        let stop = async {
            stop.await;
            sleep(shutdown_delay).await;
        };
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        connections.spawn(Arc::clone(&self).connection(stream, client, closing.subscribe()));
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        let waiting = listener.into_std()?;
        while let Ok((stream, client)) = waiting.accept() {
            stream.set_nonblocking(true)?;
            let stream = TcpStream::from_std(stream)?;
            connections.spawn(Arc::clone(&self).connection(stream, client, closing.subscribe()));
        }
        drop(waiting);
        closing.send_replace(true);
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        closing: watch::Receiver<bool>,
    ) {
        // It only makes small answers quicker.
        let _delayed = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let (server, closing) = (Arc::clone(&self), closing.clone());
            Box::pin(async move {
                let mut response = server.respond(request, client).await;
                if *closing.borrow() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            })
        });
        let mut connection =
            http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
        let (mut called, mut last_call) = (false, pin!(last_call(closing.clone())));
        let served = poll_fn(|context| {
            if !called && last_call.as_mut().poll(context).is_ready() {
                called = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(context)
        });
        // A client that went away is no concern of the server's.
        if served.await.is_ok() {
            part(connection.into_parts().io.into_inner()).await;
        }
    }

    async fn respond(&self, request: Request<Incoming>, client: SocketAddr) -> Response<Content> {
        let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let json = header(ACCEPT).is_some_and(|accept| accept.contains("application/json"));
        let host = header(HOST).unwrap_or_default().to_owned();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let mut fields =
            vec![("client", client.to_string()), ("host", host), ("path", uri.path().to_owned())];
        let query = |key: &str| {
            let pairs = uri.query().unwrap_or_default().split('&');
            pairs
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value)
        };
        match (method, uri.path()) {
            (Method::POST, "/healthz" | "/health") => self.set_health(query("status").unwrap_or_default()),
            (_, "/healthz" | "/health") => self.health(),
            (_, "/bytes") => match query("n").unwrap_or("0").parse() {
                Ok(count) => plain(StatusCode::OK, Content::Filler(count)),
                Err(_) => refused("n is no number of bytes"),
            },
            (_, "/stream") => ticks(query("seconds").unwrap_or("60"), query("interval").unwrap_or("100ms")),
            (Method::POST, "/upload") => match count(request.into_body()).await {
                Ok(bytes) => {
                    fields.push(("bytes", bytes.to_string()));
                    respond_with(&self.identity.answer(&fields), json)
                }
                Err(error) => refused(&error.to_string()),
            },
            _ => respond_with(&self.identity.answer(&fields), json),
        }
    }

    fn health(&self) -> Response<Content> {
        let over = self.options.fail_health_after.is_some_and(|after| self.started.elapsed() >= after);
        let status = match StatusCode::from_u16(self.health.load(Ordering::Relaxed)) {
            Ok(told) => told,
            Err(_) if self.options.fail_health || over => StatusCode::SERVICE_UNAVAILABLE,
            Err(_) => StatusCode::OK,
        };
        let word = if status.is_success() { "ok\n" } else { "unhealthy\n" };
        plain(status, word.to_owned().into())
    }

    /// From now on /healthz answers with this status.
    fn set_health(&self, status: &str) -> Response<Content> {
        match status.parse().map(StatusCode::from_u16) {
            Ok(Ok(status)) if status.as_u16() >= 200 => {
                self.health.store(status.as_u16(), Ordering::Relaxed);
                plain(StatusCode::OK, format!("/healthz answers {status}\n").into())
            }
            _ => refused("status is a number such as 503"),
        }
    }
}

/// Resolves when idle connections are to be closed.
async fn last_call(mut closing: watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_ok() {
        sleep(LAST_CALL).await;
    }
}

/// Ends a connection with FIN, and reads on for a moment: what the client sent meanwhile would be answered with a
/// reset, which may overtake what it has not read yet (RFC 9112, section 9.6).
async fn part(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let _cut = timeout(PART, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}

fn ticks(seconds: &str, every: &str) -> Response<Content> {
    match (duration(seconds), duration(every)) {
        (Ok(length), Ok(every)) if !every.is_zero() => {
            let mut interval = interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let until = Instant::now() + length;
            plain(StatusCode::OK, Content::Ticks { interval, until, count: 0 })
        }
        _ => refused("seconds and interval are durations such as 60s and 100ms"),
    }
}

async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes: u64 = 0;
    while let Some(frame) = body.frame().await {
        let length = frame?.data_ref().map_or(0, bytes::Bytes::len);
        bytes += u64::try_from(length).unwrap_or_default();
    }
    Ok(bytes)
}

fn respond_with(answer: &Answer, json: bool) -> Response<Content> {
    let text = if json { answer.json() } else { answer.lines() };
    let mut response = plain(StatusCode::OK, text.into());
    if json {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

fn refused(reason: &str) -> Response<Content> {
    plain(StatusCode::BAD_REQUEST, format!("{reason}\n").into())
}

fn plain(status: StatusCode, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
