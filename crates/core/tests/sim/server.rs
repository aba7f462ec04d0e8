//! The server of a history: drives the engine as the runtime does, with a journal that survives
//! crashes and everything else that does not.

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::error::Refusal;
use ostler_core::events::wire::{Event, EventBody};
use ostler_core::ids::{EffectId, EventId, IncarnationId};
use ostler_core::model::ModelErrorKind;
use ostler_core::scope::Principal;
use ostler_core::session::calls::{Call, CallState};
use ostler_core::session::context::{CONTEXT_KINDS, Context};
use ostler_core::session::effect::{Effect, outstanding};
use ostler_core::session::plan::ModelPlan;
use ostler_core::session::project::{Shared, project};
use ostler_core::session::record::{Record, RecordBody};
use ostler_core::session::state::{Phase, State};
use ostler_core::session::step::{Input, Now, SharedBudget, Step, create, step};
use ostler_core::time::Timestamp;

use super::chance::Chance;
use super::check::{self, Broken, Checker};
use super::sandbox::{Found, Sandbox};
use super::script;

/// A way to drive the engine wrongly, which the checker must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Calls reach the sandbox before the journal.
    DispatchesBeforeCommit,
    /// Clients hear of success before the journal.
    RepliesBeforeCommit,
    /// What was under way is not taken up after a crash.
    ForgetsRecovery,
    /// A call that may have run is said to have never been received.
    RerunsLost,
    /// After a crash, calls count as never given to anybody.
    TrustsAfterCrash,
    /// A connection that did not deliver a call is taken to speak for earlier ones, too.
    BelievesConnections,
    /// Results are thrown away before they are in the journal.
    AcknowledgesBeforeCommit,
}

/// Why an action ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Crash,
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What survives crashes of the server.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) records: Vec<Record>,
    snapshot: Option<(usize, String)>,
    /// Public events, at positions 1, 2, ..
    pub(crate) events: Vec<Event>,
    /// Times taken up without getting on.
    recoveries: u32,
}

/// Work under way.
pub(crate) enum Task {
    Model { effect: EffectId, attempt: u32, cancelled: bool },
    Timer { timer: EffectId, until: Timestamp },
    Start,
    List { server: String, url: String },
    Remote { call: EventId, cancelled: bool, given: bool },
    Call { call: Box<Call>, incarnation: IncarnationId, fresh: bool, cancelled: bool, sent: bool },
}

/// What performing a call came to.
enum Performed {
    Ended(Input),
    Goes { sent: bool },
}

/// What a crash of the server takes away.
pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) context: Context,
    pub(crate) tasks: Vec<Task>,
    pub(crate) inbox: Vec<Input>,
    /// The life that there is a way to.
    link: Option<IncarnationId>,
}

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) journal: Journal,
    pub(crate) sandbox: Sandbox,
    pub(crate) checker: Checker,
    pub(crate) server: Option<Server>,
    pub(crate) faults: bool,
    /// One in how many boundaries is a crash.
    crashes: usize,
    pub(crate) fault: Fault,
    clock: i64,
    plan: &'static ModelPlan,
    /// The state and the context as told by the journal alone.
    shadow: Option<(State, Context)>,
}

/// What a client was told is accepted, without interrupts that find nothing running for want of budget:
/// those are taken and forgotten.
fn effective(step: &Step) -> Vec<Event> {
    let requested = |event: &Event| {
        step.records.iter().any(|record| matches!(&record.body, RecordBody::InterruptRequested { event: id, .. } if *id == event.id))
    };
    let capped = step.state.is_at_cap() || step.state.phase == Phase::Capped;
    let forgotten = |event: &Event| capped && matches!(event.body, EventBody::UserInterrupt {}) && !requested(event);
    step.echo.iter().filter(|event| !forgotten(event)).cloned().collect()
}

impl World {
    /// A session that was just created.
    pub(crate) fn new(seed: u64, fault: Fault) -> Result<Self, Broken> {
        let mut world = Self {
            chance: Chance::new(seed),
            journal: Journal::default(),
            sandbox: Sandbox::default(),
            checker: Checker::default(),
            server: None,
            faults: false,
            crashes: 60,
            fault,
            clock: 1_000_000_000,
            plan: &script::PLANS[0],
            shadow: None,
        };
        world.plan = world.chance.pick(script::PLANS.as_slice());
        let (body, now) = (script::created(&mut world.chance), world.now());
        let step = create(body, Vec::new(), &Principal::System, now).map_err(|refusal| refusal.message)?;
        world.append(&step)?;
        world.faults = true;
        world.crashes = *world.chance.pick(&[6, 30, 60, 60, 200]);
        Ok(world)
    }

    fn now(&mut self) -> Now<'static> {
        self.clock += i64::try_from(self.chance.below(5_000)).unwrap();
        Now { at: Timestamp(self.clock), seed: self.chance.next(), plan: self.plan, shared_budget: SharedBudget::Open }
    }

    /// A step as the store admits it: a request may find that others used up a budget.
    fn decide(&mut self, input: Input) -> Result<Result<Step, Refusal>, Stop> {
        let now = self.now();
        let refuses = self.faults && self.chance.one_in(12);
        let state = &self.server()?.state;
        let decided = step(state, input.clone(), now);
        let asks = |step: &Step| step.records.iter().any(|record| matches!(record.body, RecordBody::RequestStarted { .. }));
        Ok(match decided {
            Ok(step) if refuses && asks(&step) => {
                let seed = now.seed.wrapping_add(1);
                ostler_core::session::step::step(state, input, Now { seed, shared_budget: SharedBudget::Reached, ..now })
            }
            decided => decided,
        })
    }

    pub(crate) fn maybe_crash(&mut self) -> Result<(), Stop> {
        if self.faults && self.chance.one_in(self.crashes) { Err(Stop::Crash) } else { Ok(()) }
    }

    /// The session as it runs; started if it does not.
    pub(crate) fn server(&mut self) -> Result<&mut Server, Stop> {
        if self.server.is_none() {
            self.load()?;
        }
        Ok(self.server.as_mut().unwrap())
    }

    fn load(&mut self) -> Result<(), Stop> {
        let (state, context) = self.read_back()?;
        let unfinished = state.is_unfinished();
        self.server = Some(Server { state, context, tasks: Vec::new(), inbox: Vec::new(), link: None });
        if !unfinished || self.fault == Fault::ForgetsRecovery {
            return Ok(());
        }
        self.journal.recoveries += 1;
        self.maybe_crash()?;
        let deaths = self.journal.recoveries;
        if deaths > ostler_core::limits::DEATHS_BEFORE_SET_ASIDE {
            return self.happened(Input::SetAside { deaths: deaths - 1 });
        }
        self.happened(Input::Recovered)
    }

    fn read_back(&mut self) -> Result<(State, Context), Broken> {
        let whole = State::fold(&self.journal.records).ok_or("the journal does not fold")?;
        let state = match &self.journal.snapshot {
            Some((seq, text)) if self.chance.one_in(2) => {
                let mut state: State = serde_json::from_str(text).map_err(|error| error.to_string())?;
                self.journal.records[*seq..].iter().for_each(|record| state.apply(record));
                state
            }
            _ => whole.clone(),
        };
        let mut context = Context::default();
        self.journal.records.iter().filter(|record| CONTEXT_KINDS.contains(&record.body.kind())).for_each(|record| context.push(record));
        let (shadow, shadow_context) = self.shadow.as_ref().ok_or("nothing was committed")?;
        check::rule!(state == whole && &state == shadow, "the state read back is another one");
        check::rule!(context.messages() == shadow_context.messages(), "the context read back is another one");
        Ok((state, context))
    }

    /// A client or administrator wants something. Whether it was accepted.
    pub(crate) fn command(&mut self, input: Input) -> Result<bool, Stop> {
        let fresh = !matches!(input, Input::Retry { .. });
        let Ok(step) = self.decide(input)? else { return Ok(false) };
        if self.fault == Fault::RepliesBeforeCommit {
            self.checker.accepted(&effective(&step));
        }
        self.commit(&step)?;
        self.follow_up(step, fresh)?;
        Ok(true)
    }

    /// Something happened that must not be lost while the server lives.
    pub(crate) fn happened(&mut self, input: Input) -> Result<(), Stop> {
        let fresh = !matches!(input, Input::Recovered) || self.fault == Fault::TrustsAfterCrash;
        if self.fault == Fault::AcknowledgesBeforeCommit
            && let Input::CallFinished { call, .. } = &input
        {
            self.sandbox.acknowledge(call);
        }
        let step = self.decide(input)?.map_err(|refusal| refusal.message)?;
        self.commit(&step)?;
        self.follow_up(step, fresh)
    }

    fn commit(&mut self, step: &Step) -> Result<(), Stop> {
        if step.records.is_empty() {
            let unchanged = self.server.as_ref().is_some_and(|server| server.state == step.state);
            return if unchanged { Ok(()) } else { Err(Stop::Broken("a state changed without a record".into())) };
        }
        if self.fault == Fault::DispatchesBeforeCommit {
            for effect in &step.effects {
                if let Effect::RunCall { call, incarnation } = effect {
                    self.sandbox.give(incarnation, call);
                    self.sandbox_gets_on()?;
                }
            }
        }
        self.maybe_crash()?;
        self.append(step)?;
        self.maybe_crash()?;
        let server = self.server()?;
        server.state = step.state.clone();
        step.records.iter().for_each(|record| server.context.push(record));
        Ok(())
    }

    /// The journal takes a batch: from here on it is true.
    fn append(&mut self, step: &Step) -> Result<(), Broken> {
        if self.fault != Fault::RepliesBeforeCommit {
            self.checker.accepted(&effective(step));
        }
        let shared = Shared { thread: step.state.thread.clone(), agent_name: step.state.agent.name.clone() };
        for record in &step.records {
            let record = if self.chance.one_in(8) { through_json(record)? } else { record.clone() };
            let events = project(&record, &shared);
            self.checker.record(&record, &events)?;
            self.journal.events.extend(events);
            if record.body.is_progress() {
                self.journal.recoveries = 0;
            }
            match &mut self.shadow {
                Some((state, context)) => {
                    state.apply(&record);
                    context.push(&record);
                }
                None => self.shadow = State::first(&record).map(|state| (state, Context::default())),
            }
            self.journal.records.push(record);
        }
        check::rule!(self.shadow.as_ref().is_some_and(|(state, _)| state == &step.state), "the journal folds to another state");
        self.checker.batch(&step.state)?;
        if self.chance.one_in(10) {
            let text = serde_json::to_string(&step.state).map_err(|error| error.to_string())?;
            self.journal.snapshot = Some((self.journal.records.len(), text));
        }
        Ok(())
    }

    fn follow_up(&mut self, step: Step, fresh: bool) -> Result<(), Stop> {
        for record in &step.records {
            if let RecordBody::CallSettled { call, outcome, .. } = &record.body
                && outcome.end != CallEnd::NotRun
                && self.server()?.link.is_some()
            {
                self.sandbox.acknowledge(call);
            }
        }
        for effect in step.effects {
            self.maybe_crash()?;
            self.start(effect, fresh)?;
        }
        let state = &self.server()?.state;
        if matches!(state.phase, Phase::Archived { .. }) && !step.records.is_empty() {
            self.sandbox.kill();
        }
        self.all_under_way()
    }

    fn start(&mut self, effect: Effect, fresh: bool) -> Result<(), Stop> {
        let server = self.server()?;
        // A sandbox may be asked for while an earlier, abandoned wish is under way, and a call may be
        // given to the same life again after a repeated word of its start: it takes each id once.
        let repeatable = matches!(effect, Effect::StartSandbox | Effect::RunCall { .. } | Effect::ListMcpTools { .. });
        check::rule!(repeatable || !server.tasks.iter().any(|task| task.performs(&effect)), "{effect:?} is asked for twice");
        match effect {
            Effect::CallModel { effect, attempt } => {
                check::context(&server.context.messages())?;
                server.tasks.push(Task::Model { effect, attempt, cancelled: false });
            }
            Effect::CancelModel { effect } => server.tasks.iter_mut().for_each(|task| {
                if let Task::Model { effect: id, cancelled, .. } = task {
                    *cancelled |= id == &effect;
                }
            }),
            Effect::SetTimer { timer, until } => server.tasks.push(Task::Timer { timer, until }),
            Effect::StartSandbox => server.tasks.push(Task::Start),
            Effect::RunCall { call, incarnation } => {
                let call = server.state.call(&call).cloned().ok_or_else(|| Stop::Broken("an effect of no call".into()))?;
                server.tasks.push(Task::Call { call: Box::new(call), incarnation, fresh, cancelled: false, sent: false });
            }
            Effect::RunRemote { call } => server.tasks.push(Task::Remote { call, cancelled: false, given: false }),
            Effect::ListMcpTools { server: name, url } => server.tasks.push(Task::List { server: name, url }),
            Effect::CancelCall { call: id } => server.tasks.iter_mut().for_each(|task| match task {
                Task::Call { call, cancelled, .. } => *cancelled |= call.id == id,
                Task::Remote { call, cancelled, .. } => *cancelled |= *call == id,
                _ => {}
            }),
        }
        Ok(())
    }

    /// What a state asks for is under way, and nothing is asked for exactly when nothing should be.
    fn all_under_way(&mut self) -> Result<(), Stop> {
        let forgets = self.fault == Fault::ForgetsRecovery;
        let server = self.server()?;
        let wanted = outstanding(&server.state);
        let rests = server.state.set_aside
            || matches!(server.state.phase, Phase::Idle | Phase::Capped | Phase::Archived { .. } | Phase::Acting { paused: true });
        check::rule!(wanted.is_empty() == rests, "{:?} asks for {wanted:?}", server.state.phase);
        let missing = wanted.iter().find(|effect| {
            !server.tasks.iter().any(|task| task.performs(effect)) && !server.inbox.iter().any(|input| answers(input, effect))
        });
        match missing {
            Some(effect) if !forgets => Err(Stop::Broken(format!("{effect:?} is not under way"))),
            _ => Ok(()),
        }
    }

    pub(crate) fn sandbox_gets_on(&mut self) -> Result<(), Broken> {
        match self.sandbox.get_on(&mut self.chance) {
            Some((call, incarnation)) => self.checker.executed(&call, &incarnation),
            None => Ok(()),
        }
    }

    /// Lets one task get on; it may end in an input.
    pub(crate) fn task_gets_on(&mut self, index: usize) -> Result<(), Stop> {
        let task = self.server()?.tasks.swap_remove(index);
        let input = match task {
            Task::Model { effect, attempt, cancelled } => self.model(effect, attempt, cancelled),
            Task::Timer { timer, until } => {
                self.clock = self.clock.max(until.0);
                Input::TimerFired { timer }
            }
            Task::Start if self.faults && self.chance.one_in(8) => Input::SandboxFailed { message: "no memory".into() },
            Task::Start => {
                let incarnation = self.chance.incarnation();
                self.sandbox.create(incarnation.clone());
                self.server()?.link = Some(incarnation.clone());
                Input::SandboxStarted { incarnation }
            }
            Task::List { server, url } if self.faults && self.chance.one_in(4) => {
                Input::McpFailed { server, url, message: "refused".into(), is_authentication: self.chance.one_in(2) }
            }
            Task::List { server, url } => Input::McpListed { server, url, tools: script::listed(&mut self.chance) },
            Task::Remote { call, cancelled: true, given: false } => {
                Input::CallFinished { call, outcome: CallOutcome::text("interrupted", true, CallEnd::NotRun) }
            }
            Task::Remote { call, cancelled, given: false } => {
                // Nobody outside knows of lives; each time it is given counts.
                let life = self.chance.incarnation();
                self.checker.executed(&call, &life)?;
                self.server()?.tasks.push(Task::Remote { call, cancelled, given: true });
                return Ok(());
            }
            Task::Remote { call, cancelled, given: true } => {
                let end = if cancelled { CallEnd::OutcomeUnknown } else { CallEnd::Finished };
                Input::CallFinished { call, outcome: CallOutcome::text("done", false, end) }
            }
            Task::Call { call, incarnation, fresh, cancelled, sent } => match self.perform(&call, &incarnation, fresh, cancelled, sent)? {
                Performed::Ended(input) => input,
                Performed::Goes { sent } => {
                    self.server()?.tasks.push(Task::Call { call, incarnation, fresh, cancelled, sent });
                    return Ok(());
                }
            },
        };
        self.server()?.inbox.push(input);
        Ok(())
    }

    fn model(&mut self, effect: EffectId, attempt: u32, cancelled: bool) -> Input {
        if cancelled && !self.chance.one_in(3) {
            return Input::ModelFailed { effect, error: script::error(ModelErrorKind::Cancelled), delay_ms: 0 };
        }
        if self.faults && self.chance.one_in(if attempt > 1 { 2 } else { 6 }) {
            return Input::ModelFailed { effect, error: script::model_error(&mut self.chance), delay_ms: 100 };
        }
        let response = if self.faults { script::answer(&mut self.chance) } else { script::plain_answer(&mut self.chance) };
        Input::ModelAnswered { effect, response: Box::new(response) }
    }

    fn perform(&mut self, call: &Call, incarnation: &IncarnationId, fresh: bool, cancelled: bool, sent: bool) -> Result<Performed, Stop> {
        let lost = |fresh: bool| {
            let (call, incarnation) = (call.id.clone(), incarnation.clone());
            Performed::Ended(if fresh {
                Input::CallNeverReceived { call, incarnation }
            } else {
                Input::CallLost { call, incarnation, why: None }
            })
        };
        let reruns = self.fault == Fault::RerunsLost;
        if !sent {
            if self.server()?.link.as_ref() != Some(incarnation) {
                if !self.sandbox.lives(incarnation) {
                    return Ok(lost(fresh || reruns));
                }
                if self.faults && self.chance.one_in(20) {
                    self.sandbox.kill();
                    return Ok(lost(fresh));
                }
                self.server()?.link = Some(incarnation.clone());
                return Ok(Performed::Goes { sent: false });
            }
            if fresh && cancelled {
                return Ok(Performed::Ended(Input::CallFinished {
                    call: call.id.clone(),
                    outcome: CallOutcome::text("interrupted", true, CallEnd::NotRun),
                }));
            }
            self.maybe_crash()?;
            if !self.sandbox.give(incarnation, &call.id) {
                self.server()?.link = None;
                // This connection never delivered the call. An earlier server may have.
                let undelivered = !self.chance.one_in(3);
                let never = undelivered && (fresh || self.fault == Fault::BelievesConnections);
                return Ok(lost(never || reruns));
            }
            self.maybe_crash()?;
        }
        if cancelled {
            self.sandbox.cancel(&call.id);
        }
        match self.sandbox.find(incarnation, &call.id) {
            Found::Working => Ok(Performed::Goes { sent: true }),
            Found::Done(outcome) => Ok(Performed::Ended(Input::CallFinished { call: call.id.clone(), outcome })),
            // An early copy of the result was journalled, and this one is too late.
            Found::Forgotten if self.server()?.state.call(&call.id).is_none_or(|call| call.state == CallState::Settled) => Ok(lost(false)),
            Found::Forgotten => Err(Stop::Broken(format!("the result of {} was thrown away before it was journalled", call.id))),
            Found::LifeOver => {
                self.server()?.link = None;
                Ok(lost(reruns))
            }
        }
    }

    /// The end of a history: the journal alone tells it all.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        self.checker.end()?;
        let records = self.journal.records.iter().map(through_json).collect::<Result<Vec<_>, _>>()?;
        check::rule!(records == self.journal.records, "records do not survive being stored");
        let (state, _) = self.shadow.as_ref().ok_or("nothing was committed")?;
        let shared = Shared { thread: state.thread.clone(), agent_name: state.agent.name.clone() };
        let events: Vec<Event> = records.iter().flat_map(|record| project(record, &shared)).collect();
        check::rule!(events == self.journal.events, "the events do not follow from the records alone");
        self.read_back().map(|_| ())
    }
}

impl Task {
    fn performs(&self, effect: &Effect) -> bool {
        match (self, effect) {
            (Self::Model { effect: id, .. }, Effect::CallModel { effect, .. }) => id == effect,
            (Self::Model { effect: id, cancelled, .. }, Effect::CancelModel { effect }) => id == effect && *cancelled,
            (Self::Timer { timer: id, .. }, Effect::SetTimer { timer, .. }) => id == timer,
            (Self::Start, Effect::StartSandbox) => true,
            (Self::List { server: name, .. }, Effect::ListMcpTools { server, .. }) => name == server,
            (Self::Remote { call: id, .. }, Effect::RunRemote { call }) => id == call,
            (Self::Remote { call: id, cancelled, .. }, Effect::CancelCall { call }) => id == call && *cancelled,
            (Self::Call { call: id, incarnation: life, .. }, Effect::RunCall { call, incarnation }) => {
                &id.id == call && life == incarnation
            }
            (Self::Call { call: id, cancelled, .. }, Effect::CancelCall { call }) => &id.id == call && *cancelled,
            _ => false,
        }
    }
}

/// Whether an input ends an effect.
fn answers(input: &Input, effect: &Effect) -> bool {
    match (input, effect) {
        (
            Input::ModelAnswered { effect: id, .. } | Input::ModelFailed { effect: id, .. },
            Effect::CallModel { effect, .. } | Effect::CancelModel { effect },
        ) => id == effect,
        (Input::TimerFired { timer: id }, Effect::SetTimer { timer, .. }) => id == timer,
        (Input::SandboxStarted { .. } | Input::SandboxFailed { .. }, Effect::StartSandbox) => true,
        (
            Input::CallFinished { call: id, .. } | Input::CallNeverReceived { call: id, .. } | Input::CallLost { call: id, .. },
            Effect::RunCall { call, .. } | Effect::RunRemote { call } | Effect::CancelCall { call },
        ) => id == call,
        (Input::McpListed { server: name, .. } | Input::McpFailed { server: name, .. }, Effect::ListMcpTools { server, .. }) => {
            name == server
        }
        _ => false,
    }
}

fn through_json(record: &Record) -> Result<Record, Broken> {
    let text = serde_json::to_string(record).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
}
