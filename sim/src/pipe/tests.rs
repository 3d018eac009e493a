use std::io::ErrorKind;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::{Dials, Direction, Link, PipeStream, Profile};

/// Longer than anything in these tests takes.
const LONG: Duration = Duration::from_secs(3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn pair(profile: Profile) -> (Arc<Link>, PipeStream, PipeStream) {
    let link = Link::new(profile, 1);
    let (client, gateway) = PipeStream::pair(&link);
    (link, client, gateway)
}

fn slow() -> Profile {
    Profile::with_latency_us(10_000, 10_000)
}

async fn read_some(stream: &mut PipeStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = [0; 1024];
    let len = stream.read(&mut bytes).await?;
    Ok(bytes[..len].to_vec())
}

async fn is_silent(stream: &mut PipeStream) -> bool {
    timeout(LONG, stream.read_u8()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_after_the_latency_and_in_order() {
    let (_link, mut client, mut gateway) = pair(Profile::with_latency_us(1_000, 30_000));
    let start = Instant::now();
    let mut sent = Vec::new();
    for number in 0..100_u8 {
        client.write_all(&[number]).await.unwrap();
        sent.push(number);
    }
    let mut received = vec![0; 100];
    gateway.read_exact(&mut received).await.unwrap();
    assert_eq!(received, sent);
    assert!((ms(20)..=ms(30)).contains(&start.elapsed()), "{:?}", start.elapsed());

    gateway.write_all(b"back").await.unwrap();
    let sent_back = Instant::now();
    assert_eq!(read_some(&mut client).await.unwrap(), b"back");
    assert!((ms(1)..=ms(30)).contains(&sent_back.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn segments_stay_apart_unless_they_may_coalesce() {
    let (link, mut client, mut gateway) = pair(Profile { coalesce: false, ..slow() });
    client.write_all(b"one").await.unwrap();
    client.write_all(b"two").await.unwrap();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"one");
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"two");
    link.set_profile(slow());
    client.write_all(b"one").await.unwrap();
    client.write_all(b"two").await.unwrap();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"onetwo");
}

/// Pushes random bytes both ways through a random profile and returns how long it took.
async fn exchange(seed: u64) -> Duration {
    let mut draws = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut upto = |most: u32| 1 + draws.next_u32() % most;
    let profile = Profile {
        latency_min_us: 0,
        latency_max_us: u64::from(upto(20_000)),
        chop_read_bytes: NonZeroU32::new(upto(100)),
        chop_write_bytes: NonZeroU32::new(upto(100)),
        coalesce: upto(2) == 1,
        bandwidth_bytes_per_ms: NonZeroU32::new(upto(2_000)),
        capacity_bytes: NonZeroUsize::new(upto(300) as usize).unwrap(),
    };
    let mut data = vec![0; upto(20_000) as usize];
    draws.fill_bytes(&mut data);
    let link = Link::new(profile, seed);
    let (client, gateway) = PipeStream::pair(&link);
    let start = Instant::now();
    let tasks = [client, gateway].map(|end| {
        let data = data.clone();
        tokio::spawn(async move {
            let (mut reading, mut writing) = tokio::io::split(end);
            let sent = data.clone();
            let writer = tokio::spawn(async move {
                writing.write_all(&sent).await.unwrap();
                writing.shutdown().await.unwrap();
            });
            let mut received = Vec::new();
            reading.read_to_end(&mut received).await.unwrap();
            writer.await.unwrap();
            assert_eq!(received, data);
        })
    });
    for task in tasks {
        timeout(LONG, task).await.expect("it does not hang").unwrap();
    }
    assert_eq!((link.open_streams(), link.gateway_streams()), (0, 0));
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn every_byte_survives_chopping_and_every_run_repeats() {
    for seed in 0..100 {
        assert_eq!(exchange(seed).await, exchange(seed).await, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bandwidth_is_kept() {
    let rate = NonZeroU32::new(100);
    let (_link, mut client, mut gateway) = pair(Profile { bandwidth_bytes_per_ms: rate, ..slow() });
    let start = Instant::now();
    client.write_all(&[7; 100_000]).await.unwrap();
    let mut first = [0; 1];
    gateway.read_exact(&mut first).await.unwrap();
    assert!(start.elapsed() <= ms(60), "the first bytes do not wait for the last: {:?}", start.elapsed());
    gateway.read_exact(&mut [0; 99_999]).await.unwrap();
    assert_eq!(start.elapsed(), ms(1_010));
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_the_reader() {
    let capacity_bytes = NonZeroUsize::new(10).unwrap();
    let (_link, mut client, mut gateway) = pair(Profile { capacity_bytes, ..slow() });
    assert_eq!(client.write(&[1; 25]).await.unwrap(), 10);
    assert!(timeout(LONG, client.write(&[2; 15])).await.is_err(), "there is no room");
    let writer = tokio::spawn(async move {
        client.write_all(&[2; 15]).await.unwrap();
        client
    });
    let mut bytes = [0; 25];
    gateway.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes[..10], [1; 10]);
    assert_eq!(bytes[10..], [2; 15]);
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_blip_delays_and_loses_nothing() {
    let (link, mut client, mut gateway) = pair(slow());
    client.write_all(b"before").await.unwrap();
    link.hold();
    client.write_all(b" and during").await.unwrap();
    assert!(is_silent(&mut gateway).await);
    let dial = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.dial().await }
    });
    sleep(LONG).await;
    assert_eq!(link.dialing(), 1);
    link.release();
    let released = Instant::now();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"before and during");
    dial.await.unwrap().unwrap();
    assert_eq!(released.elapsed(), Duration::ZERO);
    assert_eq!(link.dialing(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_blip_wakes_a_reader_that_waits() {
    let (link, mut client, mut gateway) = pair(slow());
    let reader = tokio::spawn(async move { read_some(&mut gateway).await });
    client.write_all(b"late").await.unwrap();
    link.stall(Direction::ToGateway);
    sleep(ms(500)).await;
    assert!(!reader.is_finished());
    link.resume(Direction::ToGateway);
    assert_eq!(timeout(ms(1), reader).await.unwrap().unwrap().unwrap(), b"late");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_one_way() {
    let (link, mut client, mut gateway) = pair(slow());
    link.stall(Direction::ToClient);
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"ping");
    gateway.write_all(b"pong").await.unwrap();
    assert!(is_silent(&mut client).await);
    link.release();
    assert_eq!(read_some(&mut client).await.unwrap(), b"pong");
}

#[tokio::test(start_paused = true)]
async fn a_partition_kills_streams_and_dials_for_ever_without_a_word() {
    let capacity_bytes = NonZeroUsize::new(8).unwrap();
    let (link, mut client, mut gateway) = pair(Profile { capacity_bytes, ..slow() });
    gateway.write_all(b"lost").await.unwrap();
    let dial = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.dial().await }
    });
    sleep(ms(1)).await;
    link.partition();
    client.write_all(b"accepted").await.unwrap();
    link.heal();
    assert!(timeout(LONG, client.write_all(b"!")).await.is_err(), "the capacity is used up");
    assert!(is_silent(&mut client).await);
    assert!(is_silent(&mut gateway).await);
    drop(client);
    assert!(is_silent(&mut gateway).await, "not even the end arrives");
    assert!(!dial.is_finished());
    dial.abort();
    let _ = dial.await;
    assert_eq!((link.dialing(), link.open_streams()), (0, 0));

    link.dial().await.unwrap();
    let (mut client, mut gateway) = PipeStream::pair(&link);
    client.write_all(b"again").await.unwrap();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"again");
}

#[tokio::test(start_paused = true)]
async fn a_partition_spares_what_had_arrived() {
    let (link, mut client, mut gateway) = pair(slow());
    client.write_all(b"arrived").await.unwrap();
    sleep(ms(10)).await;
    client.write_all(b"lost").await.unwrap();
    sleep(ms(9)).await;
    link.partition();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"arrived");
    assert!(is_silent(&mut gateway).await);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_can_be_one_way() {
    let (link, mut client, mut gateway) = pair(slow());
    link.lose(Direction::ToClient);
    client.write_all(b"heard").await.unwrap();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"heard");
    gateway.write_all(b"unheard").await.unwrap();
    assert!(is_silent(&mut client).await);
    assert!(timeout(LONG, link.dial()).await.is_err());
    link.restore(Direction::ToClient);
    assert!(is_silent(&mut client).await);
    link.dial().await.unwrap();
    drop(client);
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_after_the_data() {
    let (link, mut client, mut gateway) = pair(slow());
    let start = Instant::now();
    client.write_all(b"last words").await.unwrap();
    drop(client);
    assert_eq!(link.open_streams(), 0);
    gateway.write_all(b"nobody listens").await.unwrap();
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"last words");
    assert_eq!(read_some(&mut gateway).await.unwrap(), b"");
    assert_eq!(start.elapsed(), ms(10));
    let error = gateway.write(b"still there?").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(link.gateway_streams(), 1);
    drop(gateway);
    assert_eq!(link.gateway_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_closes_one_direction() {
    let (_link, mut client, mut gateway) = pair(slow());
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut request = Vec::new();
    gateway.read_to_end(&mut request).await.unwrap();
    gateway.write_all(b"response").await.unwrap();
    drop(gateway);
    let mut response = Vec::new();
    client.read_to_end(&mut response).await.unwrap();
    assert_eq!((&request[..], &response[..]), (&b"request"[..], &b"response"[..]));
}

#[tokio::test(start_paused = true)]
async fn dropping_an_end_with_unread_bytes_resets() {
    let (_link, mut client, mut gateway) = pair(slow());
    gateway.write_all(b"said").await.unwrap();
    client.write_all(b"never read").await.unwrap();
    sleep(ms(10)).await;
    drop(gateway);
    assert_eq!(read_some(&mut client).await.unwrap(), b"said");
    assert_eq!(read_some(&mut client).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(client.write(b"?").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_writer_learns_that_the_reader_is_gone() {
    let capacity_bytes = NonZeroUsize::new(4).unwrap();
    let (_link, mut client, gateway) = pair(Profile { capacity_bytes, ..slow() });
    let writer = tokio::spawn(async move {
        loop {
            if let Err(error) = client.write_all(b"data").await {
                return error.kind();
            }
            sleep(ms(1)).await;
        }
    });
    sleep(ms(100)).await;
    assert!(!writer.is_finished());
    drop(gateway);
    assert_eq!(timeout(ms(12), writer).await.unwrap().unwrap(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_reset_hits_both_ends_and_wakes_them() {
    let capacity_bytes = NonZeroUsize::new(4).unwrap();
    let (link, mut client, mut gateway) = pair(Profile { capacity_bytes, ..slow() });
    client.write_all(b"full").await.unwrap();
    let writer = tokio::spawn(async move { client.write_all(b"more").await.unwrap_err().kind() });
    let reader = tokio::spawn(async move { read_some(&mut gateway).await.unwrap_err().kind() });
    sleep(ms(1)).await;
    link.reset_all();
    assert_eq!(timeout(ms(1), writer).await.unwrap().unwrap(), ErrorKind::ConnectionReset);
    // What was on its way is gone.
    assert_eq!(timeout(ms(1), reader).await.unwrap().unwrap(), ErrorKind::ConnectionReset);
    assert_eq!((link.open_streams(), link.gateway_streams()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn dials_take_a_round_trip_and_can_be_refused_or_ignored() {
    let link = Link::new(slow(), 1);
    let start = Instant::now();
    link.dial().await.unwrap();
    assert_eq!(start.elapsed(), ms(20));
    link.set_dials(Dials::Refused);
    assert_eq!(link.dial().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    link.set_dials(Dials::Ignored);
    let ignored = tokio::spawn({
        let link = Arc::clone(&link);
        async move { timeout(LONG, link.dial()).await.is_err() }
    });
    sleep(ms(50)).await;
    link.set_dials(Dials::Answered);
    link.dial().await.unwrap();
    assert!(ignored.await.unwrap());
    assert_eq!((link.dialing(), link.dials_begun()), (0, 4));
}
