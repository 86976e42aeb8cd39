%%% @doc The program behind `make run': follows one repository in the foreground and says what
%%% happens, a line for each thing. Called by examples/run.sh.
-module(bcg_follow).

-include_lib("bc_gitops/include/bc_gitops.hrl").

-export([start/1, handle/4]).

-define(INTERVAL_MS, 5000).
-define(LOG_LINES, 12).           % of a failed build's output

%% @doc Follows Branch of Repo; Dir holds the clone, what was built, and the state.
-spec start([string()]) -> pid().
start([Repo, Branch, Dir]) ->
    _ = io:setopts([{encoding, unicode}]),
    spawn(fun() -> follow(Repo, Branch, Dir) end).

%% RUN_CONFIG may be the configuration of a node of its own: only REPO is followed.
follow(Repo, Branch, Dir) ->
    ok = application:load(bc_gitops),
    ok = application:unset_env(bc_gitops, repo_url),
    {ok, _} = application:ensure_all_started(bc_gitops),
    ok = bc_gitops_telemetry:attach_many(<<"make run">>, events(), fun ?MODULE:handle/4, self()),
    Interval = application:get_env(bc_gitops, reconcile_interval, ?INTERVAL_MS),
    Config = #{
        repo_url => Repo, branch => Branch, reconcile_interval => Interval,
        local_path => filename:join(Dir, "clone"), state_path => filename:join(Dir, "state"),
        workspace_path => filename:join(Dir, "workspace")
    },
    case bc_gitops:start_reconciler(Config) of
        {ok, _} ->
            listen(undefined);
        {error, Reason} ->
            say("cannot start: ~ts", [bc_gitops:format_error(Reason)]),
            halt(1)
    end.

events() ->
    [
        ?TELEMETRY_RECONCILE_STOP, ?TELEMETRY_RECONCILE_ERROR,
        ?TELEMETRY_DEPLOY_START, ?TELEMETRY_DEPLOY_STOP,
        ?TELEMETRY_UPGRADE_START, ?TELEMETRY_UPGRADE_STOP,
        ?TELEMETRY_RECONFIGURE_START, ?TELEMETRY_RECONFIGURE_STOP,
        ?TELEMETRY_REMOVE_START, ?TELEMETRY_REMOVE_STOP,
        ?TELEMETRY_BUILD_START, ?TELEMETRY_BUILD_STOP
    ].

%% @doc The telemetry handler.
-spec handle([atom()], map(), map(), pid()) -> ok.
handle([bc_gitops | Event], Measurements, Metadata, Follower) ->
    Follower ! {Event, Measurements, Metadata},
    ok.

%% A line of status is printed when it differs from the last one.
listen(Last) ->
    receive
        {[reconcile, _], _, _} ->
            Status = status_line(bc_gitops:status()),
            Status =/= Last andalso say("~ts", [Status]),
            listen(Status);
        {Event, Measurements, Metadata} ->
            event(Event, Measurements, Metadata),
            listen(Last)
    end.

status_line({ok, #{status := Status, last_commit := Commit, app_count := Count} = Map}) ->
    #{healthy_count := Healthy} = Map,
    Head = io_lib:format("~ts at ~ts, ~b of ~b applications healthy",
                         [Status, short(Commit), Healthy, Count]),
    [Head | [["\n          ", Problem] || Problem <- problems(Map)]];
status_line({error, Reason}) ->
    bc_gitops:format_error(Reason).

%% What is wrong with the repository; what is wrong with an application has its own line.
problems(#{last_error := LastError, spec_errors := SpecErrors, refused := Refused}) ->
    [bc_gitops:format_error(LastError) || LastError =/= undefined] ++
        [Message || #{problems := Problems} <- SpecErrors, #{message := Message} <- Problems] ++
        [io_lib:format("not removed, since that would be all of them: ~0tp", [Names])
         || #{names := Names} <- [Refused]].

event([build, start], _, #{app := App} = Meta) ->
    say("  building ~ts with ~ts", [App, maps:get(tool, Meta, "its build tool")]);
event([build, stop], Measured, #{app := App, status := Status}) when Status =/= error ->
    say("  built ~ts~ts", [App, took(Measured)]);
event([build, stop], Measured, #{app := App}) ->
    say("  building ~ts failed~ts", [App, took(Measured)]),
    build_output(App);
event([upgrade, start], _, #{app := App, from_version := Same, to_version := Same}) ->
    say("  replacing ~ts ~ts by the same version from another revision", [App, Same]);
event([upgrade, start], _, #{app := App, from_version := From, to_version := To}) ->
    say("  upgrading ~ts from ~ts to ~ts", [App, From, To]);
event([Action, start], _, #{app := App}) ->
    say("  ~ts ~ts", [doing(Action), App]);
event([Action, stop], Measured, #{app := App, result := Result}) ->
    case is_success(Result) of
        true -> say("  ~ts ~ts~ts", [done(Action), App, took(Measured)]);
        false ->
            say("  ~ts ~ts failed~ts: ~ts",
                [doing(Action), App, took(Measured), reason(Result)])
    end;
event(Event, _, Metadata) ->
    say("  ~0tp ~0tp", [Event, Metadata]).

is_success({error, _}) -> false;
is_success(_) -> true.

build_output(App) ->
    case bc_gitops:build_log(App) of
        {ok, Log} ->
            Lines = string:split(string:trim(Log), "\n", all),
            Last = lists:nthtail(max(0, length(Lines) - ?LOG_LINES), Lines),
            lists:foreach(fun(Line) -> io:format("          | ~ts~n", [Line]) end, Last);
        {error, not_found} ->
            ok
    end.

doing(deploy) -> "deploying";
doing(upgrade) -> "upgrading";
doing(reconfigure) -> "reconfiguring";
doing(remove) -> "removing".

done(deploy) -> "deployed";
done(upgrade) -> "upgraded";
done(reconfigure) -> "reconfigured";
done(remove) -> "removed".

took(#{duration := Native}) ->
    Ms = erlang:convert_time_unit(Native, native, millisecond),
    io_lib:format(" (~.1f s)", [Ms / 1000]);
took(_) ->
    "".

reason({error, Reason}) -> bc_gitops:format_error(Reason).

short(<<Short:7/binary, _/binary>>) -> Short;
short(_) -> "no commit yet".

say(Format, Args) ->
    {_, {Hour, Minute, Second}} = calendar:local_time(),
    io:format("~2..0b:~2..0b:~2..0b  " ++ Format ++ "~n", [Hour, Minute, Second | Args]).
