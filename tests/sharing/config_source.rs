//! A client has the newest config that anybody set out to find.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use onesocket::config_source::{Changes, ConfigSource, Follow, FollowEnd, Generations, SourceError, follow};
use onesocket::core::{Config, Status};
use onesocket::hub::Hub;
use onesocket::{Client, ConfigureError, NotReady};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::rig::{Count, Rig, config, ms, secs};

type Answer = Result<Option<Config>, SourceError>;

/// A source whose answers come when the test gives them.
#[derive(Default)]
struct Slow {
    generations: Generations,
    asked: Mutex<VecDeque<oneshot::Sender<Answer>>>,
}

impl Slow {
    /// The oldest question that has no answer, once it was asked.
    async fn question(&self) -> oneshot::Sender<Answer> {
        loop {
            if let Some(question) = self.asked.lock().unwrap().pop_front() {
                return question;
            }
            sleep(ms(1)).await;
        }
    }

    /// Answers the oldest question, once it was asked.
    async fn answer(&self, answer: Answer) {
        self.question().await.send(answer).expect("somebody waits for the answer");
    }
}

impl ConfigSource for Slow {
    async fn current(&self) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.asked.lock().unwrap().push_back(sender);
        receiver.await.unwrap_or_else(|_| Err(SourceError::new("nobody answers")))
    }

    fn changes(&self) -> Changes {
        self.generations.changes()
    }
}

/// A source that always knows.
#[derive(Default)]
struct Quick {
    generations: Generations,
    now: Mutex<Option<Config>>,
}

impl Quick {
    fn set(&self, config: Option<Config>) {
        *self.now.lock().unwrap() = config;
        self.generations.announce();
    }
}

impl ConfigSource for Quick {
    async fn current(&self) -> Answer {
        Ok(self.now.lock().unwrap().clone())
    }

    fn changes(&self) -> Changes {
        self.generations.changes()
    }
}

fn client(rig: &Rig) -> Client {
    Client::builder().seed(7).spawn(rig.clone()).unwrap()
}

/// Gateways at these ports, and a client that follows a source to the first of them and is ready there.
async fn following(ports: &[u16]) -> (Rig, Client, Arc<Quick>) {
    let rig = Rig::new(ports);
    let (client, source) = (client(&rig), Arc::new(Quick::default()));
    source.set(Some(config(1)));
    run(follow(&client, Arc::clone(&source)).unwrap());
    sleep(ms(1)).await;
    client.ready().await.unwrap();
    (rig, client, source)
}

fn run<S: ConfigSource>(follow: Follow<S>) -> JoinHandle<FollowEnd> {
    tokio::spawn(follow.run())
}

#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_a_followed_source_moves_the_client() {
    let rig = Rig::new(&[1, 2]);
    let (client, source) = (client(&rig), Arc::new(Quick::default()));
    let following = run(follow(&client, Arc::clone(&source)).unwrap());
    assert_eq!(client.ready().await, Err(NotReady::NotConfigured));
    for port in [1, 2, 1] {
        source.set(Some(config(port)));
        sleep(ms(1)).await;
        timeout(secs(10), client.ready()).await.unwrap().unwrap();
        assert_eq!((rig.count(port).live, rig.count(3 - port).live), (1, 0));
    }
    source.set(None);
    sleep(secs(2)).await;
    assert_eq!((client.status(), rig.count(1).live), (Status::NotConfigured, 0));
    assert_eq!((rig.count(1).ever, rig.count(2).ever), (2, 1));
    client.shutdown().await;
    assert_eq!(following.await.unwrap(), FollowEnd::Client);
}

/// Everything here is announced within one poll, before anybody can look.
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_quick_changes_never_dial_what_is_between() {
    let rig = Rig::new(&[1, 2, 3]);
    let (client, source) = (client(&rig), Arc::new(Quick::default()));
    source.set(Some(config(1)));
    run(follow(&client, Arc::clone(&source)).unwrap());
    client.connect();
    sleep(secs(1)).await;
    source.set(Some(config(2)));
    source.set(Some(config(3)));
    sleep(secs(2)).await;
    assert_eq!((rig.count(1).ever, rig.count(2).ever, rig.count(3).ever), (1, 0, 1));

    // Pushed instead of pulled, and not waited for.
    let (to_two, to_one) = (client.configure(Some(config(2))), client.configure(Some(config(1))));
    let (two, one) = tokio::join!(to_two, to_one);
    assert_eq!((two, one), (Ok(()), Ok(())));
    sleep(secs(2)).await;
    assert_eq!((rig.count(1).ever, rig.count(2).ever, rig.count(3).live), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_equal_values_are_no_ops_however_often() {
    let rig = Rig::new(&[1]);
    let (client, source) = (client(&rig), Arc::new(Quick::default()));
    source.set(Some(config(1)));
    let following = follow(&client, Arc::clone(&source)).unwrap();
    let mut progress = following.progress();
    run(following);
    client.connect();
    let epoch = {
        progress.changed().await.unwrap();
        client.ready().await.unwrap()
    };
    for _ in 0..10 {
        source.set(Some(config(1)));
        progress.changed().await.unwrap();
    }
    assert_eq!(progress.borrow().answers, 11);
    assert_eq!((client.ready().await, rig.count(1).ever), (Ok(epoch), 1));
}

/// Off and on again in one moment look like nothing, and must not leave the client off (B26).
#[tokio::test(start_paused = true)]
async fn no_wedge_off_and_on_in_one_moment_ends_on() {
    let (rig, client, source) = following(&[1]).await;
    source.set(None);
    source.set(Some(config(1)));
    sleep(secs(2)).await;
    client.ready().await.unwrap();
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 1 });

    // Seen in the middle, while the old socket is closing: one new connection.
    rig.site(1).link.hold();
    source.set(None);
    sleep(ms(100)).await;
    assert_eq!(client.status(), Status::Closing);
    source.set(Some(config(1)));
    rig.site(1).link.release();
    sleep(secs(2)).await;
    assert!(matches!(client.status(), Status::Ready { .. }), "{:?}", client.status());
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 2 });
}

#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_a_late_answer_changes_nothing() {
    let rig = Rig::new(&[1, 2]);
    let (client, source) = (client(&rig), Arc::new(Slow::default()));
    let following = follow(&client, Arc::clone(&source)).unwrap();
    let progress = following.progress();
    run(following);
    let old = source.question().await;
    source.generations.announce();
    let new = source.question().await;
    new.send(Ok(Some(config(2)))).unwrap();
    sleep(ms(1)).await;
    let epoch = client.ready().await.unwrap();
    assert!(old.send(Ok(Some(config(1)))).is_err(), "nobody waits for the old answer");
    sleep(secs(2)).await;
    assert_eq!((client.ready().await, rig.count(1).ever, rig.count(2).ever), (Ok(epoch), 0, 1));
    assert_eq!((progress.borrow().answers, progress.borrow().generation), (1, 1));
}

/// A lookup that began before somebody pushed a config, and ends after it (B24).
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_a_push_beats_every_lookup_that_began_before_it() {
    let answers: [Answer; 3] = [Ok(Some(config(1))), Ok(None), Err(SourceError::new("denied"))];
    for answer in answers {
        let rig = Rig::new(&[1, 2]);
        let (client, source) = (client(&rig), Arc::new(Slow::default()));
        let following = follow(&client, Arc::clone(&source)).unwrap();
        let mut progress = following.progress();
        run(following);
        let question = source.question().await;
        client.configure(Some(config(2))).await.unwrap();
        let epoch = client.ready().await.unwrap();
        question.send(answer.clone()).unwrap();
        progress.changed().await.unwrap();
        assert_eq!(progress.borrow().error, answer.err());
        sleep(secs(2)).await;
        assert_eq!((client.ready().await, rig.count(1).ever, rig.count(2).live), (Ok(epoch), 0, 1));

        // The next lookup began later, and wins.
        source.generations.announce();
        source.answer(Ok(Some(config(1)))).await;
        sleep(secs(2)).await;
        assert_eq!((rig.count(1).live, rig.count(2).live), (1, 0));
    }
}

/// The owner of the socket decides, so it makes no difference in which order they get there.
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_reconfiguring_while_closing_dials_the_newest_only() {
    let (rig, client, source) = following(&[1, 2, 3]).await;
    // The gateway is silent, so that the old socket stays for all of its grace (B21, B22).
    rig.site(1).link.hold();
    for port in [2, 1, 2, 3] {
        source.set(Some(config(port)));
        sleep(ms(100)).await;
        assert_eq!((client.status(), rig.count(1).live), (Status::Closing, 1));
    }
    sleep(secs(2)).await;
    assert_eq!((rig.count(1).ever, rig.count(2).ever, rig.count(3).ever), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_wedge_an_error_keeps_the_config_and_is_reported() {
    let rig = Rig::new(&[1, 2]);
    let (client, source) = (client(&rig), Arc::new(Slow::default()));
    let following = follow(&client, Arc::clone(&source)).unwrap();
    let mut progress = following.progress();
    run(following);
    source.answer(Ok(Some(config(1)))).await;
    progress.changed().await.unwrap();
    let epoch = client.ready().await.unwrap();

    source.generations.announce();
    source.answer(Err(SourceError::new("the disk is gone"))).await;
    progress.changed().await.unwrap();
    let error = progress.borrow_and_update().error.clone().unwrap();
    assert_eq!(error.to_string(), "the config cannot be found out: the disk is gone");
    assert_eq!(client.ready().await, Ok(epoch));

    source.generations.announce();
    source.answer(Ok(Some(config(2)))).await;
    progress.changed().await.unwrap();
    assert_eq!(progress.borrow().error, None);
    sleep(secs(2)).await;
    assert_eq!((rig.count(1).live, rig.count(2).live), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_following_keeps_no_client_alive() {
    let rig = Rig::new(&[1]);
    // The source is asked, and does not answer.
    let (client, source) = (client(&rig), Arc::new(Slow::default()));
    let following = run(follow(&client, Arc::clone(&source)).unwrap());
    source.answer(Ok(Some(config(1)))).await;
    sleep(ms(1)).await;
    client.ready().await.unwrap();
    source.generations.announce();
    let _question = source.question().await;
    drop(client);
    assert_eq!(timeout(secs(1), following).await.unwrap().unwrap(), FollowEnd::Client);
    assert_eq!(rig.count(1).live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_gone_leaves_its_last_config() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let source = Fleeting(Mutex::new(Some(Generations::new())));
    assert_eq!(run(follow(&client, source).unwrap()).await.unwrap(), FollowEnd::Source);
    client.ready().await.unwrap();
    assert_eq!(rig.count(1).live, 1);
}

/// A source that goes away when it is asked, and answers all the same.
struct Fleeting(Mutex<Option<Generations>>);

impl ConfigSource for Fleeting {
    async fn current(&self) -> Answer {
        drop(self.0.lock().unwrap().take());
        tokio::task::yield_now().await;
        Ok(Some(config(1)))
    }

    fn changes(&self) -> Changes {
        self.0.lock().unwrap().as_ref().map(Generations::changes).expect("it is asked once")
    }
}

#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_a_shared_client_follows_nothing() {
    let hub = Hub::new(Rig::new(&[1]));
    let client = hub.client(config(1)).unwrap();
    assert_eq!(follow(&client, Quick::default()).unwrap_err(), ConfigureError::Shared);
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_no_config_is_taken_after_shutdown() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.shutdown().await;
    assert_eq!(client.configure(Some(config(1))).await, Err(ConfigureError::ShutDown));
    let following = run(follow(&client, Quick::default()).unwrap());
    assert_eq!(following.await.unwrap(), FollowEnd::Client);
    assert_eq!(rig.count(1).ever, 0);
}
