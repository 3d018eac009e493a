//! The life of the gateway process: boots, clocks, drains, restarts (protocol 14.1, 16).
//!
//! ```text
//!          order, RPC         drain over         70 ms later        all sockets gone, or 1 s
//!  Running ----------> Draining -------> Announced -------> Closing -----------------> Down
//!    ^  |              503, requests     "shutdown"         503, close                 ECONNREFUSED
//!    |  |              UNAVAILABLE       event sent         1012 sent                    |
//!    |  +----------------------------------- crash ------------------------------------->|
//!    +-------------------------- boot after `down`, or Order::Start ---------------------+
//! ```

use std::time::Duration;

use super::broadcast::{Event, Health};
use super::config::Auth;
use super::effect::{Admission, ConnectionId, Deviation, Effect, ModelEvent, TerminateCause};
use super::gateway_model::{GatewayModel, Turn};
use super::lockout::Lockout;
use super::order::RestartMode;
use super::session::Session;
use super::timer::Timer;

/// Which boot this is and whether it is still up.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) boot: u32,
    pub(super) boot_id: String,
    /// When the listener opened.
    pub(super) booted_at: Duration,
    /// When the process started, which an in-process restart does not change.
    started_at: Duration,
    pub(super) state: State,
    /// Whether the boot's own refresh is still to come.
    pub(super) loading: bool,
    /// Whether the tick and health clocks are wound up; they rest while nobody is connected.
    clocks_run: bool,
}

/// Whether the gateway is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// Admission is closed; active work drains.
    Draining(Ending),
    /// The shutdown event is out; the close frames follow.
    Announced(Ending),
    /// The close frames are out. Until the sockets are gone, the listener still answers 503.
    Closing(Ending),
    Down,
}

/// What follows a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A new boot in the same process, after this long.
    Restart(Duration),
    /// Nothing.
    Stop,
}

impl Process {
    pub(super) fn booted(boot_id: String) -> Self {
        Process {
            boot: 1,
            boot_id,
            booted_at: Duration::ZERO,
            started_at: Duration::ZERO,
            state: State::Running,
            loading: true,
            clocks_run: false,
        }
    }

    pub(super) fn admission(&self) -> Admission {
        match self.state {
            State::Running => Admission::Open,
            State::Draining(_) | State::Announced(_) | State::Closing(_) => {
                Admission::Unavailable("Gateway websocket admission closed")
            }
            State::Down => Admission::Refused,
        }
    }

    /// Whether requests and connects on open sockets are refused (protocol 16.1, 16.4).
    pub(super) fn is_draining(&self) -> bool {
        match self.state {
            State::Draining(_) | State::Announced(_) | State::Closing(_) => true,
            State::Running | State::Down => false,
        }
    }
}

impl GatewayModel {
    pub(super) fn restart(&mut self, turn: &mut Turn<'_>, mode: RestartMode, down: Duration) {
        match (mode, self.process.state) {
            (RestartMode::Graceful, State::Running) => self.drain(turn, Ending::Restart(down)),
            (
                RestartMode::Graceful,
                State::Draining(_) | State::Announced(_) | State::Closing(_) | State::Down,
            ) => {}
            (
                RestartMode::Crash,
                State::Running | State::Draining(_) | State::Announced(_) | State::Closing(_),
            ) => {
                self.crash(turn, down);
            }
            (RestartMode::Crash, State::Down) => {}
        }
    }

    pub(super) fn stop(&mut self, turn: &mut Turn<'_>) {
        match self.process.state {
            State::Running => self.drain(turn, Ending::Stop),
            State::Draining(_) => self.process.state = State::Draining(Ending::Stop),
            State::Announced(_) => self.process.state = State::Announced(Ending::Stop),
            State::Closing(_) => self.process.state = State::Closing(Ending::Stop),
            State::Down => self.timers.retain(|timer| *timer != Timer::Boot),
        }
    }

    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        match self.process.state {
            State::Running | State::Draining(_) | State::Announced(_) | State::Closing(_) => {}
            State::Down => {
                self.timers.retain(|timer| *timer != Timer::Boot);
                self.boot_now(turn);
            }
        }
    }

    fn drain(&mut self, turn: &mut Turn<'_>, ending: Ending) {
        self.process.state = State::Draining(ending);
        let restarting = matches!(ending, Ending::Restart(_));
        turn.note(ModelEvent::Draining { boot: self.process.boot, restarting });
        self.timers.insert(turn.now + self.config.timing.drain, Timer::AnnounceShutdown);
    }

    pub(super) fn announce_shutdown(&mut self, turn: &mut Turn<'_>) {
        let State::Draining(ending) = self.process.state else { return };
        self.process.state = State::Announced(ending);
        let payload = match ending {
            Ending::Restart(_) => r#"{"reason":"gateway restarting","restartExpectedMs":1500}"#,
            Ending::Stop => r#"{"reason":"gateway stopping"}"#,
        };
        self.broadcast(turn, &Event::new("shutdown", payload));
        self.timers.insert(turn.now + self.config.timing.shutdown_close_delay, Timer::CloseAll);
    }

    pub(super) fn close_all(&mut self, turn: &mut Turn<'_>) {
        let State::Announced(ending) = self.process.state else { return };
        // Sockets that have not said hello get no close frame (protocol 16.1).
        for connection in self.connections(|session| session.established().is_some()) {
            self.close(turn, connection, 1012, "service restart");
        }
        self.process.state = State::Closing(ending);
        let grace = turn.now + self.config.timing.close_grace;
        self.timers.insert(grace, Timer::DropStragglers);
    }

    /// Ends a shutdown once nobody is left to wait for.
    pub(super) fn finish_shutdown(&mut self, turn: &mut Turn<'_>) {
        let State::Closing(ending) = self.process.state else { return };
        if !self.sessions.is_empty() {
            return;
        }
        self.end_process(turn, false);
        match ending {
            Ending::Restart(down) => self.timers.insert(turn.now + down, Timer::Boot),
            Ending::Stop => {}
        }
    }

    fn crash(&mut self, turn: &mut Turn<'_>, down: Duration) {
        for connection in std::mem::take(&mut self.sessions).into_keys() {
            turn.effects.push(Effect::Terminate { connection });
            turn.note(ModelEvent::Terminated { connection, cause: TerminateCause::Crash });
        }
        self.end_process(turn, true);
        // State versions live in the process; only an in-process restart keeps them (protocol 10.7).
        self.presence.reset();
        self.health = Health::new();
        self.timers.insert(turn.now + down, Timer::Boot);
    }

    /// Everything that dies with a boot.
    fn end_process(&mut self, turn: &mut Turn<'_>, crashed: bool) {
        self.process.state = State::Down;
        self.process.clocks_run = false;
        self.timers.retain(|timer| *timer == Timer::AdmitUpgrades);
        self.starts.clear();
        self.outcomes.clear();
        self.lockout = Lockout::default();
        self.health.refreshing = false;
        turn.note(ModelEvent::Stopped { boot: self.process.boot, crashed });
    }

    pub(super) fn drop_stragglers(&mut self, turn: &mut Turn<'_>) {
        for connection in self.connections(|_| true) {
            let cause = match self.sessions.get(&connection).map(Session::is_closing) {
                Some(true) => TerminateCause::CloseGrace,
                Some(false) | None => TerminateCause::PreAuthAtShutdown,
            };
            self.terminate(turn, connection, cause);
        }
    }

    pub(super) fn boot_now(&mut self, turn: &mut Turn<'_>) {
        self.process.boot += 1;
        self.process.boot_id = self.random.uuid();
        self.process.booted_at = turn.now;
        self.process.state = State::Running;
        self.process.loading = true;
        if self.health.text.is_none() {
            self.process.started_at = turn.now;
        }
        self.health.without_loop = self.health.text.is_some();
        self.health.settled = turn.now;
        self.schedule_refresh(turn.now, self.config.timing.boot_refresh_delay);
        turn.note(ModelEvent::Booted { boot: self.process.boot });
    }

    /// Asks for a health refresh, unless one is on its way.
    pub(super) fn schedule_refresh(&mut self, now: Duration, delay: Duration) {
        if !self.health.refreshing {
            self.health.refreshing = true;
            self.timers.insert(now + delay, Timer::HealthRefresh);
        }
    }

    /// How long the current boot has been up.
    pub(super) fn up_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.process.booted_at)
    }

    /// `snapshot.uptimeMs`, which counts from the start of the process.
    pub(super) fn uptime_ms(&self, now: Duration) -> u64 {
        now.saturating_sub(self.process.started_at).as_millis() as u64
    }

    /// Winds up the clocks that rest while nobody is connected, and catches up on the refreshes nobody saw.
    pub(super) fn wind_clocks(&mut self, now: Duration) {
        if self.process.clocks_run {
            return;
        }
        self.process.clocks_run = true;
        self.settle_health(now);
        self.schedule_tick(now);
        self.schedule_health(now);
    }

    /// Counts the periodic refreshes up to `now`; only the last one's snapshot is still of interest.
    fn settle_health(&mut self, now: Duration) {
        let (booted_at, interval) = (self.process.booted_at, self.config.timing.health_interval);
        let periods_by =
            |time: Duration| time.saturating_sub(booted_at).as_nanos().checked_div(interval.as_nanos());
        let (Some(counted), Some(due)) = (periods_by(self.health.settled), periods_by(now)) else { return };
        if due > counted {
            let last = booted_at + interval * u32::try_from(due).unwrap_or(u32::MAX);
            self.health.version += (due - counted - 1) as u64;
            self.health.refresh(self.config.epoch_ms + last.as_millis() as u64);
        }
        self.health.settled = now;
    }

    /// Ticks fall on one global clock, whatever the connections do (protocol 14.1).
    fn schedule_tick(&mut self, now: Duration) {
        let timing = &self.config.timing;
        let phase = timing.tick_phase.min(timing.tick_interval);
        if let Some(due) = after(self.process.booted_at, timing.tick_interval, now + phase) {
            self.timers.insert(due.saturating_sub(phase).max(now), Timer::Tick);
        }
    }

    fn schedule_health(&mut self, now: Duration) {
        if let Some(due) = after(self.process.booted_at, self.config.timing.health_interval, now) {
            self.timers.insert(due, Timer::HealthInterval);
        }
    }

    /// Whether anybody is left to run the clocks for; winds them down otherwise.
    fn clocks_wanted(&mut self) -> bool {
        let wanted = self.sessions.values().any(|session| session.established().is_some());
        if !wanted {
            self.process.clocks_run = false;
            self.timers.retain(|timer| !matches!(timer, Timer::Tick | Timer::HealthInterval));
        }
        wanted
    }

    pub(super) fn on_tick_due(&mut self, turn: &mut Turn<'_>) {
        if self.clocks_wanted() {
            self.tick(turn);
            self.schedule_tick(turn.now);
        }
    }

    pub(super) fn on_health_due(&mut self, turn: &mut Turn<'_>) {
        if self.clocks_wanted() {
            self.health.settled = turn.now;
            self.refresh_health(turn);
            self.schedule_health(turn.now);
        }
    }

    pub(super) fn on_ping_due(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let starved = self.deviation.pings_starved(turn.now);
        let Some(established) = self.sessions.get_mut(&connection).and_then(Session::established_mut) else {
            return;
        };
        if starved {
            turn.note(ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::PingStarved,
            });
        } else if established.ping_outstanding {
            self.terminate(turn, connection, TerminateCause::MissedPong);
            return;
        } else {
            established.ping_outstanding = true;
            turn.effects.push(Effect::Ping { connection });
        }
        self.timers.insert(turn.now + self.config.timing.ping_interval, Timer::Ping(connection));
    }

    /// A config reload with another secret: closes what used the old one a moment later (protocol 6.7).
    pub(super) fn change_secret(&mut self, turn: &mut Turn<'_>, auth: Auth) {
        if self.auth == auth {
            return;
        }
        self.auth = auth;
        self.generation += 1;
        turn.note(ModelEvent::SecretChanged { generation: self.generation });
        match self.process.state {
            State::Running => {
                self.timers.insert(turn.now + self.config.timing.auth_change_delay, Timer::SecretChange);
            }
            State::Draining(_) | State::Announced(_) | State::Closing(_) | State::Down => {}
        }
    }

    pub(super) fn on_secret_change_due(&mut self, turn: &mut Turn<'_>) {
        let generation = self.generation;
        let outdated = |session: &Session| {
            session
                .established()
                .and_then(|established| established.shared_generation)
                .is_some_and(|used| used != generation)
        };
        for connection in self.connections(outdated) {
            self.close(turn, connection, 4001, "gateway auth changed");
        }
    }
}

/// The first multiple of `interval` since `start` that is later than `now`; none if there is no interval.
fn after(start: Duration, interval: Duration, now: Duration) -> Option<Duration> {
    let (interval, elapsed) = (interval.as_nanos(), now.saturating_sub(start).as_nanos());
    let periods = elapsed.checked_div(interval)? + 1;
    Some(start + Duration::from_nanos(u64::try_from(periods * interval).ok()?))
}
