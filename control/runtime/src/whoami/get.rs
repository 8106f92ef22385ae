//! The client: requests one after another, each on a connection of its own, so that each is balanced anew.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::body::Content;
use super::dns;
use super::options::Get;

/// Longest text that is printed; of longer answers only the length.
const TEXT_MAX: usize = 2048;

/// An answer as it is printed and counted.
struct Received {
    status: Option<StatusCode>,
    text: String,
}

impl Received {
    fn ok(&self) -> bool {
        self.status.is_none_or(|status| status.is_success())
    }

    fn task(&self) -> Option<&str> {
        self.text.split(' ').find_map(|field| field.strip_prefix("task="))
    }
}

/// Sends the requests; status 1 when one failed.
pub fn get(options: &Get) -> io::Result<ExitCode> {
    let uri = parse(&options.url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failures = runtime.block_on(run(options, &uri))?;
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(url: &str) -> io::Result<Uri> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{url:?}: {reason}"));
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = full.parse().map_err(|_| invalid("this is no URL such as http://web/"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(uri),
        _ => Err(invalid("only http:// is spoken")),
    }
}

async fn run(options: &Get, uri: &Uri) -> io::Result<u32> {
    let (mut failures, mut tasks) = (0, BTreeSet::new());
    let mut pace = (!options.interval.is_zero()).then(|| interval(options.interval));
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    for number in 1..=options.count {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let begun = Instant::now();
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        let outcome = timeout(options.timeout, once(options, uri, number)).await.unwrap_or_else(late);
        let time = format!("{:.1}ms", begun.elapsed().as_secs_f64() * 1000.0);
        let (good, line) = match &outcome {
            Ok(received) => {
                tasks.extend(received.task().map(str::to_owned));
                let status = received.status.map_or(String::new(), |status| format!("{} ", status.as_u16()));
                (received.ok(), format!("{number} {status}{time} {}", received.text))
            }
            Err(error) => (false, format!("{number} failed {time} {error}")),
        };
        failures += u32::from(!good);
        if !options.quiet || !good {
            println!("{line}");
        }
    }
    let (count, ok) = (options.count, options.count - failures);
    println!("requests={count} ok={ok} failed={failures} tasks={}", tasks.len());
    Ok(failures)
}

async fn once(options: &Get, uri: &Uri, number: u32) -> io::Result<Received> {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    let address = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => dns::lookup(host)?,
    };
    let to = SocketAddr::new(address, port);
    if options.udp { datagram(to, number).await } else { request(options, uri, to).await }
}

async fn request(options: &Get, uri: &Uri, to: SocketAddr) -> io::Result<Received> {
    let stream = TcpStream::connect(to).await.map_err(|error| named(&error, &format!("connect to {to}")))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let (method, content) = match options.upload {
        Some(bytes) => (Method::POST, Content::Filler(bytes)),
        None => (Method::GET, Content::Filler(0)),
    };
    let request =
        Request::builder().method(method).uri(path).header("host", host).header("connection", "close");
    let request = request.body(content).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = Some(response.status());
    let text = read(response.into_body()).await.map_err(io::Error::other)?;
    driver.abort();
    Ok(Received { status, text })
}

/// The answer on one line, or its length when it is long.
async fn read(mut body: hyper::body::Incoming) -> Result<String, hyper::Error> {
    let (mut text, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= TEXT_MAX {
            text.extend_from_slice(data);
        }
    }
    Ok(if length > TEXT_MAX { format!("bytes={length}") } else { one_line(&text) })
}

fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().collect::<Vec<_>>().join(" ")
}

/// One datagram; the answer must end with what was sent.
async fn datagram(to: SocketAddr, number: u32) -> io::Result<Received> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    // Connected: an answer from any other address is no answer.
    socket.connect(to).await.map_err(|error| named(&error, &format!("send to {to}")))?;
    let sent = format!("echo={number}");
    socket.send(sent.as_bytes()).await.map_err(|error| named(&error, &format!("send to {to}")))?;
    let mut buffer = vec![0; 65_536];
    let length =
        socket.recv(&mut buffer).await.map_err(|error| named(&error, &format!("receive from {to}")))?;
    let text = one_line(&buffer[..length]);
    if text.ends_with(&sent) {
        Ok(Received { status: None, text })
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("not what was sent came back: {text}")))
    }
}

fn named(error: &io::Error, doing: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_may_leave_the_scheme_out() {
        let uri = parse("web:8080").expect("authority only");
        assert_eq!((uri.host(), uri.port_u16(), uri.path()), (Some("web"), Some(8080), "/"));
        let uri = parse("http://10.0.0.2/stream?seconds=1").expect("whole");
        assert_eq!(uri.path_and_query().map(ToString::to_string).as_deref(), Some("/stream?seconds=1"));
        for url in ["https://web/", "", "http://"] {
            assert!(parse(url).is_err(), "{url:?}");
        }
    }
}
