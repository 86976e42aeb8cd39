%%% Shapes of repositories from a commit to what runs: real repositories, builds and applications.
-module(shapes_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        a_tag_is_the_version, a_submodule_is_part_of_the_code, apps_of_one_umbrella_go_together,
        elixir_apps_beside_one_another, a_conflict_names_both_and_passes,
        a_shared_dependency_is_upgraded_by_its_own_spec,
        an_old_version_that_hangs_in_stop_is_upgraded, what_is_missing_may_come_later,
        events_have_their_metadata
    ].

init_per_testcase(Case, Config) ->
    [{context, bct_gitops:setup(atom_to_list(Case))} | Config].

%% What a case deployed must be gone before the next: they share this VM.
end_per_testcase(_Case, Config) ->
    case bc_gitops:get_current_state() of
        {ok, Apps} -> lists:foreach(fun(Name) -> ok = bc_gitops:remove(Name) end, maps:keys(Apps));
        {error, _} -> ok
    end,
    bct_gitops:teardown(context(Config)).

context(Config) -> proplists:get_value(context, Config).

start(Context) -> start(Context, #{}).

start(Context, More) ->
    %% dependencies on the local disk are what a build must be allowed to read
    Mine = #{runtime_module => bc_gitops_runtime_default, stop_timeout => 500,
             build_read => [maps:get(dir, Context)]},
    bct_gitops:start(Context, maps:merge(Mine, More)).

a_tag_is_the_version(Config) ->
    Context = context(Config),
    Source = string:replace(bct_app:app_file("bcs_tag", "X"), "\"X\"", "git"),
    Repo = repo(Context, "bcs_tag"),
    Files = bct_app:rebar3("bcs_tag", "1.2.0", [{"src/bcs_tag.app.src", Source}]),
    _ = bct_repo:commit(Repo, Files),
    ok = bct_repo:tag(Repo, "v1.2.0"),
    _ = bct_repo:commit(Repo, [{"src/bcs_tag.erl", bct_app:server("bcs_tag", "1.3.0")}]),
    ok = bct_repo:tag(Repo, "v1.3.0"),
    _ = bct_gitops:push(Context, [spec(Context, bcs_tag, "1.2.0", "v1.2.0")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual({ok, "1.2.0"}, application:get_key(bcs_tag, vsn)),
    _ = bct_gitops:push(Context, [spec(Context, bcs_tag, "1.3.0", "v1.3.0")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual({ok, "1.3.0"}, application:get_key(bcs_tag, vsn)),
    ?assertEqual("1.3.0", apply(bcs_tag, version, [])).

a_submodule_is_part_of_the_code(Config) ->
    Context = context(Config),
    Sub = repo(Context, "sub"),
    _ = bct_repo:commit(Sub, inner(1)),
    Repo = repo(Context, "bcs_sub"),
    Files = bct_app:erlang_mk("bcs_sub", "1.0.0", "cp vendor/bcs_inner.erl src/"),
    _ = bct_repo:commit(Repo, Files),
    _ = bct_repo:git(Repo, ["submodule", "add", "-q", bct_repo:url(Sub), "vendor"]),
    _ = bct_repo:commit(Repo, []),
    _ = bct_gitops:push(Context, [spec(Context, bcs_sub, "1.0.0", "main")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual(1, apply(bcs_inner, f, [])),
    _ = bct_repo:commit(filename:join(Repo, "vendor"), inner(2)),
    Push = ["push", "-q", bct_repo:url(Sub), "HEAD:refs/heads/next"],
    _ = bct_repo:git(filename:join(Repo, "vendor"), Push),
    _ = bct_repo:commit(Repo, []),
    ok = bc_gitops:reconcile(),
    ?assertEqual(2, apply(bcs_inner, f, [])).

inner(N) ->
    Source = "-module(bcs_inner).~n-export([f/0]).~nf() -> ~b.~n",
    [{"bcs_inner.erl", io_lib:format(Source, [N])}].

apps_of_one_umbrella_go_together(Config) ->
    Context = context(Config),
    Repo = repo(Context, "umbrella"),
    Specs = fun(A, B) ->
        [spec(Context, bcs_a, A, "main", #{depends_on => [bcs_b]}, "umbrella"),
         spec(Context, bcs_b, B, "main", #{}, "umbrella")]
    end,
    _ = bct_repo:commit(Repo, umbrella("1.0.0", "1.1.0")),
    _ = bct_gitops:push(Context, Specs("1.0.0", "1.1.0")),
    _ = start(Context),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.0.0", "1.1.0"}, {apply(bcs_a, version, []), apply(bcs_b, version, [])}),
    _ = bct_repo:commit(Repo, umbrella("2.0.0", "2.1.0")),
    _ = bct_gitops:push(Context, Specs("2.0.0", "2.1.0")),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"2.0.0", "2.1.0"}, {apply(bcs_a, version, []), apply(bcs_b, version, [])}).

umbrella(A, B) ->
    Needs = {"src/bcs_a.app.src", needing("bcs_a", A, "bcs_b")},
    [{"rebar.config", "{deps, []}.\n"}]
    ++ in("apps/bcs_a/", bct_app:rebar3("bcs_a", A, [Needs]))
    ++ in("apps/bcs_b/", bct_app:rebar3("bcs_b", B)).

needing(Name, Version, Other) ->
    File = bct_app:app_file(Name, Version),
    string:replace(File, "[kernel, stdlib]", ["[kernel, stdlib, ", Other, "]"]).

in(Dir, Files) -> [{Dir ++ Path, Content} || {Path, Content} <- Files].

elixir_apps_beside_one_another(Config) ->
    Context = context(Config),
    Names = [bcs_left, bcs_right],
    [begin
        Repo = repo(Context, atom_to_list(Name)),
        [begin
            _ = bct_repo:commit(Repo, bct_app:mix(atom_to_list(Name), V, chars(Name))),
            ok = bct_repo:tag(Repo, "v" ++ V)
        end || V <- ["1.0.0", "1.1.0"]]
    end || Name <- Names],
    _ = bct_gitops:push(Context, [spec(Context, Name, "1.0.0", "v1.0.0") || Name <- Names]),
    _ = start(Context),
    ok = said(bc_gitops:reconcile()),
    both_speak(),
    _ = bct_gitops:push(Context, [spec(Context, bcs_left, "1.1.0", "v1.1.0")]),
    ok = said(bc_gitops:reconcile()),
    both_speak(),
    _ = bct_gitops:delete(Context, [bcs_left]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual(<<"bcs_right">>, chars_of('Elixir.BcsRight.Coin')),
    ?assertEqual(9, apply('Elixir.BcsRight', area, [3])).

chars(Name) ->
    [Left, Right] = [string:titlecase(P) || P <- string:split(atom_to_list(Name), "_")],
    Module = Left ++ Right,
    [{"lib/coin.ex", [
        "defmodule ", Module, ".Coin do\n  defstruct []\n"
        "  defimpl String.Chars do\n    def to_string(_), do: \"", atom_to_list(Name), "\"\n  end\nend\n"
    ]}].

both_speak() ->
    ?assertEqual({<<"bcs_left">>, <<"bcs_right">>},
                 {chars_of('Elixir.BcsLeft.Coin'), chars_of('Elixir.BcsRight.Coin')}),
    ?assertEqual({4, 9}, {apply('Elixir.BcsLeft', area, [2]), apply('Elixir.BcsRight', area, [3])}),
    ?assert(apply('Elixir.String.Chars', '__protocol__', ['consolidated?'])).

chars_of(Struct) ->
    apply('Elixir.String.Chars', to_string, [apply(Struct, '__struct__', [])]).

a_conflict_names_both_and_passes(Config) ->
    Context = context(Config),
    shared(Context),
    _ = bct_gitops:push(Context, [spec(Context, bcs_one, "1.0.0", "v1.0.0")]),
    _ = start(Context, #{retry_min => 20, retry_max => 100}),
    ok = said(bc_gitops:reconcile()),
    Commit = bct_gitops:push(Context, [spec(Context, bcs_two, "2.0.0", "v2.0.0")]),
    {error, {actions_failed, [Failure]} = Reason} = bc_gitops:reconcile(),
    ?assertMatch(#{app := bcs_two, commit := Commit, reason := {dependency_conflict, _}}, Failure),
    Text = bc_gitops:format_error(Reason),
    ct:log("~ts", [Text]),
    ?assertEqual([], [Part || Part <- ["bcs_two brings bcs_dep 2.0.0", "1.0.0", "used by bcs_one"],
                              string:find(Text, Part) =:= nomatch]),
    ?assertEqual("1.0.0", apply(bcs_dep, version, [])),
    _ = bct_gitops:push(Context, [spec(Context, bcs_one, "2.0.0", "v2.0.0")]),
    _ = bc_gitops:reconcile(),
    ok = bct_gitops:wait_state(bcs_two, running),
    ?assertEqual("2.0.0", apply(bcs_dep, version, [])).

%% Neither of two can bring another version of what both bring; with a spec of its own it can be
%% upgraded.
a_shared_dependency_is_upgraded_by_its_own_spec(Config) ->
    Context = context(Config),
    shared(Context),
    Names = [bcs_one, bcs_two],
    Specs = fun(V) ->
        Needs = #{depends_on => [bcs_dep]},
        [spec(Context, bcs_dep, V, "v" ++ V)
         | [spec(Context, Name, V, "v" ++ V, Needs, atom_to_list(Name)) || Name <- Names]]
    end,
    _ = bct_gitops:push(Context, [spec(Context, Name, "1.0.0", "v1.0.0") || Name <- Names]),
    _ = start(Context),
    ok = said(bc_gitops:reconcile()),
    _ = bct_gitops:push(Context, Specs("1.0.0")),
    ok = said(bc_gitops:reconcile()),
    _ = bct_gitops:push(Context, Specs("2.0.0")),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual(["2.0.0", "2.0.0", "2.0.0"],
                 [apply(Name, version, []) || Name <- [bcs_dep | Names]]),
    ?assertMatch({ok, #{status := synced, healthy_count := 3}}, bc_gitops:status()).

%% Two applications that bring the same dependency, in two versions of all.
shared(Context) ->
    Dep = repo(Context, "bcs_dep"),
    Names = ["bcs_one", "bcs_two"],
    Repos = [{Name, repo(Context, Name)} || Name <- Names],
    [begin
        _ = bct_repo:commit(Dep, bct_app:rebar3("bcs_dep", V)),
        ok = bct_repo:tag(Dep, "v" ++ V),
        Deps = io_lib:format("{deps, [{bcs_dep, {git, ~p, {tag, ~p}}}]}.~n",
                             [binary_to_list(bct_repo:url(Dep)), "v" ++ V]),
        [begin
            Needs = {"src/" ++ Name ++ ".app.src", needing(Name, V, "bcs_dep")},
            Files = bct_app:rebar3(Name, V, [{"rebar.config", Deps}, Needs]),
            _ = bct_repo:commit(Repo, lists:keydelete("rebar.lock", 1, Files)),
            ok = bct_repo:tag(Repo, "v" ++ V)
        end || {Name, Repo} <- Repos]
    end || V <- ["1.0.0", "2.0.0"]].

an_old_version_that_hangs_in_stop_is_upgraded(Config) ->
    Context = context(Config),
    Repo = repo(Context, "bcs_hang"),
    Callback = "-module(bcs_hang_app).\n-export([start/2, stop/1, init/1]).\n"
        "start(_, _) -> supervisor:start_link(?MODULE, []).\n"
        "stop(_) -> receive never -> ok end.\n"
        "init([]) -> {ok, {#{}, [#{id => a, start => {bcs_hang, start_link, []}}]}}.\n",
    [First | _] = [begin
        Files = [case F of {"src/bcs_hang_app.erl" = P, _} -> {P, Callback}; _ -> F end
                 || F <- bct_app:erlang_mk("bcs_hang", V)],
        Commit = bct_repo:commit(Repo, Files),
        ok = bct_repo:tag(Repo, "v" ++ V),
        Commit
    end || V <- ["1.0.0", "1.1.0"]],
    _ = bct_gitops:push(Context, [spec(Context, bcs_hang, "1.0.0", binary_to_list(First))]),
    _ = start(Context),
    ok = said(bc_gitops:reconcile()),
    Commit = bct_gitops:push(Context, [spec(Context, bcs_hang, "1.1.0", "v1.1.0")]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual("1.1.0", gen_server:call(bcs_hang, version)),
    ?assertMatch(#{desired_version := <<"1.1.0">>, running_version := <<"1.1.0">>,
                   commit := Commit, desired_commit := Commit, last_error := undefined,
                   next_retry := undefined},
                 bct_gitops:details(bcs_hang)).

what_is_missing_may_come_later(Config) ->
    Context = context(Config),
    Repo = repo(Context, "bcs_needs"),
    Needs = {"src/bcs_needs.app.src", needing("bcs_needs", "1.0.0", "bcs_later")},
    Files = bct_app:erlang_mk("bcs_needs", "1.0.0"),
    _ = bct_repo:commit(Repo, lists:keyreplace(element(1, Needs), 1, Files, Needs)),
    _ = bct_repo:commit(repo(Context, "bcs_later"), bct_app:erlang_mk("bcs_later", "1.0.0")),
    _ = bct_gitops:push(Context, [spec(Context, bcs_needs, "1.0.0", "main")]),
    _ = start(Context),
    {error, {actions_failed, [Failure]} = Reason} = bc_gitops:reconcile(),
    ?assertMatch(#{app := bcs_needs, reason := {missing_applications, [bcs_later]}}, Failure),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Reason), "bcs_later")),
    ?assertMatch(#{state := backing_off}, bct_gitops:details(bcs_needs)),
    _ = bct_gitops:push(Context, [spec(Context, bcs_later, "1.0.0", "main")]),
    bct_wait:until(fun() -> bc_gitops:reconcile() =:= ok end),
    ?assertEqual({"1.0.0", "1.0.0"}, {apply(bcs_needs, version, []), apply(bcs_later, version, [])}).

events_have_their_metadata(Config) ->
    Context = context(Config),
    shared(Context),
    _ = bct_gitops:push(Context, [spec(Context, bcs_one, "1.0.0", "v1.0.0"), {"apps/.keep", ""}]),
    {ok, _} = application:ensure_all_started(bc_gitops),
    Events = [Event || {Event, _, _} <- contract()],
    ok = bc_gitops_telemetry:attach_many(?MODULE, Events, fun send/4, self()),
    _ = start(Context),
    ok = said(bc_gitops:reconcile()),
    _ = bct_gitops:push(Context, [spec(Context, bcs_one, "2.0.0", "v2.0.0")]),
    ok = said(bc_gitops:reconcile()),
    ok = bc_gitops:remove(bcs_one),
    _ = bct_gitops:push(Context, [spec(Context, bcs_two, "2.0.0", "v1.0.0")]),
    {error, _} = bc_gitops:reconcile(),
    Seen = flush(),
    ok = bc_gitops_telemetry:detach(?MODULE),
    ct:log("~p", [Seen]),
    ?assertEqual([], [Event || Event <- Events, not lists:keymember(Event, 1, Seen)]),
    [begin
        {Event, Measures, Keys} = lists:keyfind(Event, 1, contract()),
        ?assertEqual({Event, []}, {Event, Measures -- maps:keys(Measured)}),
        ?assertEqual({Event, []}, {Event, Keys -- maps:keys(Told)})
     end || {Event, Measured, Told} <- Seen].

%% What is sent by what this suite does, with its measurements and metadata.
contract() ->
    Action = [app, isolation, runtime],
    [
        {?TELEMETRY_RECONCILE_START, [system_time], []}, {?TELEMETRY_RECONCILE_STOP, [duration], [status]},
        {?TELEMETRY_DEPLOY_START, [system_time], Action},
        {?TELEMETRY_DEPLOY_STOP, [duration], [result | Action]},
        {?TELEMETRY_UPGRADE_START, [system_time], [from_version, to_version | Action]},
        {?TELEMETRY_UPGRADE_STOP, [duration], [result | Action]},
        {?TELEMETRY_REMOVE_START, [system_time], Action},
        {?TELEMETRY_REMOVE_STOP, [duration], [result | Action]},
        {?TELEMETRY_GIT_PULL, [duration], [repo, branch]},
        {?TELEMETRY_GIT_CLONE_START, [], [repo]}, {?TELEMETRY_GIT_CLONE_STOP, [duration], [repo]},
        {?TELEMETRY_DEPS_START, [], [app, tool]},
        {?TELEMETRY_DEPS_STOP, [duration], [app, tool, status]},
        {?TELEMETRY_BUILD_START, [], [app, tool]},
        {?TELEMETRY_BUILD_STOP, [duration], [app, tool, status]},
        {?TELEMETRY_CODE_LOAD, [], [app, modules]}, {?TELEMETRY_CODE_PURGE, [], [app, modules]},
        {?TELEMETRY_PARSE_START, [system_time], []}, {?TELEMETRY_PARSE_STOP, [duration], []}
    ].

send(Event, Measurements, Metadata, Pid) ->
    Pid ! {event, Event, Measurements, Metadata}.

flush() ->
    receive
        {event, Event, Measurements, Metadata} -> [{Event, Measurements, Metadata} | flush()]
    after 0 -> []
    end.

%% helpers

repo(#{dir := Dir}, Name) -> bct_repo:init(filename:join(Dir, Name)).

spec(Context, Name, Version, Ref) ->
    spec(Context, Name, Version, Ref, #{}, atom_to_list(Name)).

spec(#{dir := Dir}, Name, Version, Ref, More, Repo) ->
    Url = bct_repo:url(filename:join(Dir, Repo)),
    Source = #{type => git, url => Url, ref => list_to_binary(Ref)},
    bct_gitops:spec(Name, Version, More#{source => Source}).

said(ok) -> ok;
said({error, Reason}) ->
    ct:pal("~ts~n~p", [bc_gitops:format_error(Reason), Reason]),
    {error, Reason}.
