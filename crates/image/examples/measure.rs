//! Measures resolve, the cached host image and prepare: `cargo run --release -p image --example measure -- DATA`.
#![expect(clippy::print_stdout, reason = "its table is what it is for")]

use std::path::PathBuf;
use std::time::Instant;

fn median(mut call: impl FnMut()) -> u128 {
    let mut times: Vec<u128> = (0..500)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_nanos() / 1000
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = PathBuf::from(std::env::args().nth(1).ok_or("usage: measure DATA")?);
    let images = image::Images::open(&data)?;
    let start = Instant::now();
    let image = images.resolve("host:sh")?;
    println!("first host:sh      {:>8} us", start.elapsed().as_micros());
    let container = data.join("container");
    std::fs::create_dir_all(&container)?;
    let check = |ok: bool| assert!(ok, "the call failed");
    println!("open               {:>8} us", median(|| check(image::Images::open(&data).is_ok())));
    println!("resolve host/sh    {:>8} us", median(|| check(images.resolve("host/sh").is_ok())));
    println!("resolve host:sh    {:>8} us", median(|| check(images.resolve("host:sh").is_ok())));
    println!(
        "prepare            {:>8} us",
        median(|| check(images.layers().prepare(&container, &image.layers, true).is_ok()))
    );
    Ok(())
}
