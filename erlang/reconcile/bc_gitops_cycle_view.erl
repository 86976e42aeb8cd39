%%% @doc What others see of the cycles: the reconciler's row in the registry, telemetry events, the log.
-module(bc_gitops_cycle_view).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([publish/1, publish_outcome/2, log/2, started/0, ended/2]).

-export_type([view/0]).

-type view() :: #{
    config := bc_gitops_config:config(),
    phase := booting | restoring | starting | following | stopping,
    commit := binary() | undefined,
    error := term(),
    timer := reference() | undefined,       % of the next cycle
    unsettled := non_neg_integer()
}.

%% As many specs of one commit are logged one by one.
-define(SPECS_LOGGED, 20).
%% No domain of our own: OTP's default handler shows events without one and those of otp, nothing else.
-define(META, #{application => bc_gitops}).

%% @doc Writes how things stand now.
-spec publish(view()) -> ok.
publish(#{config := Config, phase := Phase, commit := Commit, error := Error} = View) ->
    #{timer := Timer, unsettled := Unsettled} = View,
    #{repo_url := Url, branch := Branch, apps_dir := AppsDir} = Config,
    Before = bc_gitops_registry:get(reconciler, first()),
    bc_gitops_registry:put(reconciler, Before#{
        phase => Phase, last_commit => Commit, last_error => Error, repo => Url,
        branch => Branch, apps_dir => AppsDir, next_reconcile => next_time(Timer),
        unsettled => Unsettled
    }).

first() ->
    #{
        spec_errors => [], warnings => [], refused => none, blocked => [], held => [],
        current_state => unknown, last_cycle => undefined
    }.

next_time(undefined) ->
    undefined;
next_time(Timer) ->
    case erlang:read_timer(Timer) of
        false -> undefined;
        Left -> calendar:system_time_to_universal_time(erlang:system_time(millisecond) + Left, millisecond)
    end.

%% @doc Adds what a cycle that began at Began, in native time, has found out.
-spec publish_outcome(bc_gitops_cycle:outcome(), Began :: integer()) -> ok.
publish_outcome(#{summary := Summary, plan := Plan, current_state := CurrentState}, Began) ->
    #{errors := Errors, warnings := Warnings} = Summary,
    Took = erlang:convert_time_unit(erlang:monotonic_time() - Began, native, microsecond),
    bc_gitops_registry:put(reconciler, (bc_gitops_registry:get(reconciler, first()))#{
        spec_errors => Errors, warnings => Warnings,
        refused => maps:get(refused, Plan, none), blocked => maps:get(blocked, Plan, []),
        held => maps:get(held, Plan, []), current_state => CurrentState,
        last_cycle => #{ended => calendar:universal_time(), duration_us => Took}
    }).

%% events

-spec started() -> ok.
started() ->
    bc_gitops_telemetry:execute(?TELEMETRY_RECONCILE_START, #{system_time => erlang:system_time()}, #{}).

%% @doc Of a cycle that began at Began, in native time.
-spec ended(Began :: integer(), Error :: term()) -> ok.
ended(Began, undefined) ->
    {ok, #{status := Status}} = bc_gitops_status:read(),
    bc_gitops_telemetry:execute(?TELEMETRY_RECONCILE_STOP, took(Began), #{status => Status});
ended(Began, Error) ->
    bc_gitops_telemetry:execute(?TELEMETRY_RECONCILE_ERROR, took(Began), #{error => Error}).

took(Began) ->
    #{duration => erlang:monotonic_time() - Began}.

%% the log

%% @doc Says what is new since the outcome, or the memory, before it.
-spec log(bc_gitops_cycle:outcome(), #{error := term(), commit := binary() | undefined}) -> ok.
log(#{error := Error}, #{error := Error}) when Error =/= undefined ->
    ok;
log(#{error := {desired_state, Reason}}, _Before) ->
    ?LOG_ERROR("the desired state cannot be read: ~ts; what runs stays, tried again at the next cycle",
               [bc_gitops_failure:describe(Reason)], ?META);
log(#{commit := Commit}, #{commit := Commit}) ->
    ok;
log(#{commit := Commit, plan := Plan, summary := Summary}, _Before) ->
    #{actions := Actions, blocked := Blocked, refused := Refused} = Plan,
    #{errors := Errors, warnings := Warnings} = Summary,
    ok = log_refused(Refused, Commit),
    ok = log_specs(error, "is not good, what runs of it stays", Errors, Commit),
    ok = log_specs(warning, "is odd", Warnings, Commit),
    ?LOG_NOTICE("commit ~ts: ~b actions, ~b blocked, ~b broken specs",
                [short(Commit), length(Actions), length(Blocked), length(Errors)],
                #{application => bc_gitops, commit => Commit}).

%% One line for each spec; all of them are in status/0.
log_specs(Level, What, Specs, Commit) ->
    {Shown, More} = lists:split(min(?SPECS_LOGGED, length(Specs)), Specs),
    Said = [bc_gitops_failure:describe({spec_errors, [Spec]}) || Spec <- Shown]
        ++ [bc_gitops_words:text("and ~b more, see bc_gitops:status/0", [length(More)]) || More =/= []],
    lists:foreach(
        fun(Text) ->
            ?LOG(Level, "commit ~ts: a spec ~ts: ~ts", [short(Commit), What, string:replace(Text, "\n", "; ", all)],
                 #{application => bc_gitops, commit => Commit})
        end,
        Said
    ).

log_refused(none, _Commit) ->
    ok;
log_refused(#{message := Message}, Commit) ->
    ?LOG_ERROR("commit ~ts: removal refused: ~ts", [short(Commit), Message],
               #{application => bc_gitops, commit => Commit}).

short(<<Short:7/binary, _/binary>>) -> Short;
short(Commit) -> Commit.
