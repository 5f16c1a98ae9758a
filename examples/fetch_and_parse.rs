//! Fetches pages from a server and parses them, in workers that wait for many pages at a time.
//!
//! `cargo run --release --example fetch_and_parse`
//!
//! Waiting and parsing are in one function, as in a program without a pool: while some items wait
//! for the server, which is local, their worker parses others.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Visitor};
use std::thread;
use std::time::{Duration, Instant};

use gristmill::Pool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PAGES: u64 = 200;
/// What the server takes for an answer.
const DELAY: Duration = Duration::from_millis(20);

/// By a worker: the page's title, its number of words, and who has counted them.
async fn fetch(address: &str, page: u64) -> Result<(String, u64, u32), String> {
    let text = download(address, page)
        .await
        .map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no body")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.to_owned());
    }
    let (title, words) = body.split_once('\n').ok_or("no title")?;
    let words = words.split_whitespace().count() as u64;
    Ok((title.to_owned(), words, std::process::id()))
}

async fn download(address: &str, page: u64) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /{page} HTTP/1.1\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    connection.read_to_string(&mut text).await?;
    Ok(text)
}

/// Page `n` has `n` words; the last one is not there.
fn answer(mut visitor: Visitor) -> std::io::Result<()> {
    let mut request = [0; 256];
    let size = visitor.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..size]);
    thread::sleep(DELAY);
    let mut words = request.split(['/', ' ']);
    match words.find_map(|word| word.parse::<u64>().ok()) {
        Some(n) if n + 1 < PAGES => {
            let words = "word ".repeat(n as usize);
            write!(visitor, "HTTP/1.1 200 OK\r\n\r\nPage {n}\n{words}")
        }
        _ => write!(visitor, "HTTP/1.1 404 Not Found\r\n\r\n"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for visitor in listener.incoming().flatten() {
            thread::spawn(move || answer(visitor));
        }
    });

    let pool = Pool::builder().workers(2).async_concurrency(32).build()?;
    let began = Instant::now();
    let items = (0..PAGES).map(|page| (address.clone(), page));
    let pages = pool.starmap_async(items, async |(address, page)| {
        fetch(address, page.to_native()).await
    });
    let (mut words, mut by_worker) = (0, BTreeMap::<u32, u32>::new());
    for (n, page) in pages.await?.iter().enumerate() {
        match page.as_ref() {
            Ok(page) => {
                assert_eq!(page.0, format!("Page {n}"));
                words += page.1.to_native();
                *by_worker.entry(page.2.to_native()).or_default() += 1;
            }
            Err(reason) => println!("page {n} is missing: {reason}"),
        }
    }
    println!("{words} words; pages by worker: {by_worker:?}");
    println!(
        "{:?}, one by one {:?}",
        began.elapsed(),
        DELAY * PAGES as u32
    );
    assert_eq!(words, (0..PAGES - 1).sum::<u64>());
    Ok(())
}
