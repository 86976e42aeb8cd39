%%% @doc What the process of one managed app holds, and what its states have in common: the worker, the
%%% watch over what runs, the file on disk, and whom a change is told to.
-module(bc_gitops_app_data).

-include("bc_gitops.hrl").
-include("bc_gitops_app_data.hrl").

-export([new/2, enter/3, gone/1, publish/2, settle/2, settled/3, log/4]).
-export([running/1, running_version/1, forget_running/1, watch/1, stop_watching/1]).
-export([drop_worker/1, turn_done/1, announced/1, attempt_ended/2, cancelled/1]).
-export([saved/1, saved/2, remember/2]).

-export_type([data/0, edge/0]).

-type data() :: #data{}.
%% Where an event leads.
-type edge() :: gen_statem:event_handler_result(bc_gitops_registry:app_state_name()).
-type change() :: fun((bc_gitops_state:app()) -> bc_gitops_state:app()).

%% @doc A quarantine that was found on disk goes on.
-spec new(bc_gitops_state:app(), bc_gitops_config:config()) -> {bc_gitops_registry:app_state_name(), data()}.
new(#{name := Name} = Store, Config) ->
    Data = #data{name = Name, config = Config, store = Store},
    case Store of
        #{quarantine := #{reason := Reason}} -> {quarantined, Data#data{error = Reason, class = quarantine}};
        _ -> {pending, Data}
    end.

%% states, and what others see of them

-spec enter(bc_gitops_registry:app_state_name(), data(), [gen_statem:action()]) -> edge().
enter(State, Data, Actions) ->
    ok = publish(State, Data),
    {next_state, State, Data, Actions}.

%% @doc Nothing of the app is here any more, and its process ends.
-spec gone(data()) -> edge().
gone(#data{store = Store, config = Config} = Data) ->
    ok = bc_gitops_app_disk:forget(Store, Config),
    _ = [settled(Data#data.seq, ok, Data) || Data#data.next =:= undefined],
    {stop, normal, Data}.

-spec publish(bc_gitops_registry:app_state_name(), data()) -> ok.
publish(State, Data) ->
    #data{store = Store, app = App, goal = Goal, error = Error, attempts = Attempts} = Data,
    bc_gitops_app_view:publish(#{
        state => State, pid => self(), store => Store, app => App, goal => Goal, error => Error,
        attempts => Attempts, retry_at => Data#data.retry_at, action => Data#data.action,
        waits_for => bc_gitops_app_deps:waiting(Data#data.deps)
    }).

%% @doc How the newest goal ended. The reconciler hears of it when this event is over, so that whoever waits
%% for that finds what it led to. What ends while a newer goal waits settles nothing: that goal will.
-spec settle(ok | {error, term()}, data()) -> ok.
settle(_Result, #data{next = #{}}) ->
    ok;
settle(Result, #data{seq = Seq}) ->
    self() ! {bc_gitops_settled, Seq, Result},
    ok.

%% @doc Tells the reconciler.
-spec settled(Seq :: non_neg_integer(), ok | {error, term()}, data()) -> ok.
settled(Seq, Result, #data{name = Name}) ->
    bc_gitops_reconciler:settled(Name, Seq, Result).

%% @doc Format begins with a place for the app's name.
-spec log(logger:level(), Format :: string(), Args :: [term()], data()) -> ok.
log(Level, Format, Args, #data{store = Store}) ->
    bc_gitops_app_log:say(Level, Format, Args, Store).

%% what runs

%% @doc The revision that runs.
-spec running(data()) -> bc_gitops_state:revision() | undefined.
running(#data{app = undefined}) -> undefined;
running(#data{store = #{current := Current}}) -> Current.

-spec running_version(data()) -> binary().
running_version(#data{app = #app_state{version = Version}}) -> Version;
running_version(_Data) -> <<"nothing">>.

-spec forget_running(data()) -> data().
forget_running(Data) ->
    (stop_watching(Data))#data{app = undefined}.

%% @doc What stops by itself is heard of, where one process stands for the app.
-spec watch(data()) -> data().
watch(#data{app = #app_state{pid = Pid}} = Data) when is_pid(Pid), node(Pid) =:= node() ->
    (stop_watching(Data))#data{monitor = monitor(process, Pid)};
watch(Data) ->
    stop_watching(Data).

-spec stop_watching(data()) -> data().
stop_watching(#data{monitor = undefined} = Data) ->
    Data;
stop_watching(#data{monitor = Monitor} = Data) ->
    true = demonitor(Monitor, [flush]),
    Data#data{monitor = undefined}.

%% attempts

-spec drop_worker(data()) -> data().
drop_worker(#data{worker = undefined} = Data) ->
    Data;
drop_worker(#data{worker = Worker} = Data) ->
    ok = bc_gitops_app_work:stop(Worker),
    Data#data{worker = undefined}.

%% @doc Gives the turn of the runtime module back.
-spec turn_done(data()) -> data().
turn_done(#data{turn = none} = Data) ->
    Data;
turn_done(Data) ->
    ok = bc_gitops_turns:done(),
    Data#data{turn = none}.

%% @doc An attempt has its first event.
-spec announced(data()) -> data().
announced(#data{action = Action, goal = Goal, store = Store} = Data) ->
    ok = bc_gitops_app_view:begun(seen(Data)),
    ok = bc_gitops_app_log:begun(Action, Goal, Store),
    Data.

%% @doc An attempt that a newer goal ended has its own last event.
-spec cancelled(data()) -> data().
cancelled(#data{began = undefined} = Data) ->
    Data;
cancelled(#data{action = Action} = Data) ->
    log(info, "~ts: ~ts cancelled, something newer is wanted", [Action], Data),
    attempt_ended({error, cancelled}, Data).

-spec attempt_ended(ok | {error, term()}, data()) -> data().
attempt_ended(_Result, #data{began = undefined} = Data) ->
    Data;
attempt_ended(Result, Data) ->
    ok = bc_gitops_app_view:ended(Result, duration(Data), (seen(Data))#{how => how(Result, Data)}),
    Data#data{began = undefined}.

%% What events tell.
seen(#data{action = Action, target = Target, store = Store, config = #{runtime_module := Module}} = Data) ->
    #{action => Action, target => Target, running => running(Data), store => Store, runtime => Module}.

%% How new code took the place of old code, as the runtime says.
how(ok, #data{action = upgrade, app = #app_state{details = Details}}) ->
    maps:with([upgraded, because, pause_us, processes], Details);
how(_Result, _Data) ->
    #{}.

duration(#data{began = undefined}) -> 0;
duration(#data{began = Began}) -> erlang:monotonic_time() - Began.

%% disk

%% @doc Changes what is kept of the app, on disk too.
-spec saved(change(), data()) -> data().
saved(Change, #data{store = Store} = Data) ->
    saved(Data#data{store = Change(Store)}).

-spec saved(data()) -> data().
saved(#data{store = Store, config = Config} = Data) ->
    ok = bc_gitops_app_disk:save(Store, Config),
    Data.

%% @doc Adds how the attempt has ended to the app's history.
-spec remember(ok | {error, term()}, data()) -> data().
remember(Result, #data{action = Action, target = Target, goal = #{commit := Commit}, store = Store} = Data) ->
    Entry = #{action => Action, target => Target, commit => Commit, duration => duration(Data),
              how => how(Result, Data)},
    Data#data{store = bc_gitops_app_record:remember(Result, Entry, Store)}.
