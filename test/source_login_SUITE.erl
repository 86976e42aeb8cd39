%%% A user name and a password in the url of an app's source: they work, over a real server, and stand
%%% nowhere but in the repository.
-module(source_login_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-define(CANARY, <<"canary+SECRET/of=source 42">>).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [it_fetches_and_stands_nowhere, records_handed_over, a_restart_and_a_new_password, a_local_path_that_is_gone].

init_per_testcase(Case, Config) ->
    #{dir := Dir} = Context = bct_gitops:setup(atom_to_list(Case)),
    Root = filename:join(Dir, "served"),
    ok = filelib:ensure_path(Root),
    Server = bct_https:start(filename:join(Dir, "web"), #{root => Root, user => <<"deploy">>, password => ?CANARY}),
    [{context, Context}, {root, Root}, {server, Server} | Config].

end_per_testcase(_Case, Config) ->
    case bc_gitops:get_current_state() of
        {ok, Apps} -> [bc_gitops:remove(Name) || Name <- maps:keys(Apps)];
        {error, _} -> ok
    end,
    bct_https:stop(proplists:get_value(server, Config)),
    bct_gitops:teardown(context(Config)).

context(Config) -> proplists:get_value(context, Config).

it_fetches_and_stands_nowhere(Config) ->
    #{dir := Dir} = Context = context(Config),
    Source = source(Config, bcl_one),
    Self = self(),
    {ok, _} = application:ensure_all_started(bc_gitops),
    ok = bc_gitops_telemetry:attach_many(?FUNCTION_NAME, events(),
        fun(Event, Measurements, Metadata, _) -> Self ! {event, {Event, Measurements, Metadata}} end, []),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    Commit = bct_gitops:push(Context, [spec(Config, bcl_one, "1.0.0", ?CANARY)]),
    Lines = bct_log:capture(fun() ->
        _ = start(Config),
        ok = bc_gitops:reconcile(),
        ok = running(bcl_one, "1.0.0"),
        _ = new_version(Source, bcl_one, "1.1.0"),
        _ = bct_gitops:push(Context, [spec(Config, bcl_one, "1.1.0", ?CANARY)]),
        Self ! {read, bc_gitops:plan()},
        ok = bc_gitops:reconcile(),
        ok = running(bcl_one, "1.1.0"),
        Self ! {read, failures(Config)},
        Self ! {read, read()},
        Self ! {seen, [bct_canary:seen(Pid) || Pid <- bct_canary:tree(bc_gitops_sup)]}
    end),
    ok = logger:set_primary_config(level, Level),
    ok = bc_gitops_telemetry:detach(?FUNCTION_NAME),
    {ok, #{warnings := Warnings}} = bc_gitops:status(),
    ?assertMatch([_], [M || #{kind := secret, path := <<"source.url">>, line := 2, column := Column, message := M} <- Warnings,
                            Column > 0, string:find(M, "git_token_file") =/= nomatch]),
    <<Short:7/binary, _/binary>> = Commit,
    Told = [Line || Line <- Lines, string:find(Line, "app.config:2:") =/= nomatch, string:find(Line, Short) =/= nomatch],
    ?assertMatch([_], Told),
    Messages = flush(),
    ?assert(length([Event || {event, Event} <- Messages]) > 4),
    Places = [{Kind, Term} || {Kind, Term} <- Messages] ++ [
        {stored, bc_gitops_state:read_apps(filename:join(Dir, "state"))}, {lines, Lines}, {persistent_term, persistent_term:get()}, {environment, application:get_all_env(bc_gitops)}
    ],
    Found = bct_canary:sweep(?CANARY, #{
        modules => "bc_gitops", terms => [bct_canary:text(Term) || {_, Term} <- Places],
        paths => [filename:join(Dir, Sub) || Sub <- ["state", "workspace", "clone"]]
    }),
    ?assertEqual([], Found),
    %% the sweep would have found it where it is
    ?assertNotEqual([], bct_canary:sweep(?CANARY, #{
        modules => "none", terms => [], paths => [filename:join(Dir, "repo/apps")]})).

%% A wrong password, a repository that is not there, a ref that is not there, and specs that are refused.
failures(Config) ->
    Url = url(Config, bcl_none, ?CANARY),
    Git = fun(Name, Fields) ->
        maps:merge(#{name => Name, version => <<"1.0.0">>}, #{source => maps:merge(#{type => git, ref => <<"v1.0.0">>}, Fields)})
    end,
    Given = [
        Git(bcl_none, #{url => Url}),
        Git(bcl_one, #{url => url(Config, bcl_one, ?CANARY), ref => <<"none">>}),
        Git(bcl_wrong, #{url => url(Config, bcl_one, <<"wrong">>)}),
        Git(bcl_bad, #{url => <<Url/binary, "?query">>}),
        Git(bcl_ref, #{url => Url, ref => <<"-", Url/binary>>}),
        #{name => bcl_map, version => <<"1">>, source => Url}
    ],
    Answers = [bc_gitops:deploy(Spec) || Spec <- Given],
    [?assertMatch({error, _}, Answer) || Answer <- Answers],
    {ok, Spec} = bc_gitops_parser:parse_app_config(Git(bcl_one, #{url => Url})),
    [Spec, Answers, [bc_gitops:format_error(Reason) || {error, Reason} <- Answers], read()].

read() ->
    [bc_gitops:status(), bc_gitops:plan(), bc_gitops:get_app_status(bcl_one), bc_gitops:get_current_state(),
     bc_gitops:get_desired_state(), bc_gitops:build_log(bcl_one)].

records_handed_over(Config) ->
    #{dir := Dir} = Context = context(Config),
    [source(Config, Name) || Name <- [bcl_record, bcl_package]],
    _ = bct_gitops:push(Context, [{"apps/.keep", ""}]),
    _ = start(Config),
    Source = fun(Name) -> #source_spec{type = git, url = url(Config, Name, ?CANARY), ref = <<"v1.0.0">>} end,
    Answers = [
        bc_gitops:deploy(#app_spec{name = bcl_record, version = <<"1.0.0">>, source = Source(bcl_record)}),
        bc_gitops_workspace:fetch_package(bcl_package, Source(bcl_package)),
        bc_gitops_workspace:fetch_package(bcl_none, Source(bcl_none))
    ],
    ?assertMatch([ok, {ok, _}, {error, {not_found, _}}], Answers),
    ok = running(bcl_record, "1.0.0"),
    ?assertEqual([], bct_canary:sweep(?CANARY, #{
        modules => "bc_gitops", terms => [bct_canary:text(Term) || Term <- [Answers, bc_gitops:get_current_state()]],
        paths => [filename:join(Dir, Sub) || Sub <- ["state", "workspace", "clone"]]
    })).

%% After a restart the spec is read again, and another password in it is the one that counts.
a_restart_and_a_new_password(Config) ->
    Context = context(Config),
    Source = source(Config, bcl_two),
    _ = bct_gitops:push(Context, [spec(Config, bcl_two, "1.0.0", ?CANARY)]),
    _ = start(Config),
    ok = bc_gitops:reconcile(),
    ok = application:stop(bc_gitops),
    _ = start(Config),
    ok = bc_gitops:reconcile(),
    ok = running(bcl_two, "1.0.0"),
    _ = new_version(Source, bcl_two, "1.1.0"),
    _ = bct_gitops:push(Context, [spec(Config, bcl_two, "1.1.0", <<"wrong">>)]),
    {error, {actions_failed, [#{app := bcl_two, reason := {auth_failed, _}}]}} = bc_gitops:reconcile(),
    ok = running(bcl_two, "1.0.0"),
    _ = bct_gitops:push(Context, [spec(Config, bcl_two, "1.1.0", ?CANARY)]),
    ok = bc_gitops:reconcile(),
    ok = running(bcl_two, "1.1.0").

a_local_path_that_is_gone(Config) ->
    #{dir := Dir} = Context = context(Config),
    Gone = filename:join(Dir, "gone"),
    Spec = bct_gitops:spec(bcl_gone, "1.0.0", #{source => #{type => git, url => Gone, ref => <<"main">>}}),
    _ = bct_gitops:push(Context, [Spec]),
    _ = start(Config),
    {error, {actions_failed, [#{reason := {not_found, _} = Reason}]}} = bc_gitops:reconcile(),
    ?assertEqual(<<"the path does not exist or is no git repository: ", Gone/binary>>, bc_gitops:format_error(Reason)),
    ok = bc_gitops:stop_reconciler(),
    _ = bct_gitops:start(Context, #{repo_url => Gone, local_path => filename:join(Dir, "other"), state_path => filename:join(Dir, "s")}),
    {error, {desired_state, {not_found, _}} = Other} = bc_gitops:reconcile(),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Other), ["is no git repository: ", Gone])).

%%% Helpers

start(Config) ->
    #{ca := Ca} = proplists:get_value(server, Config),
    bct_gitops:start(context(Config), #{runtime_module => bc_gitops_runtime_default, git_ca_file => Ca}).

source(Config, Name) ->
    Repo = bct_repo:init(filename:join(proplists:get_value(root, Config), atom_to_list(Name))),
    _ = new_version(Repo, Name, "1.0.0"),
    Repo.

new_version(Repo, Name, Version) ->
    _ = bct_repo:commit(Repo, bct_app:erlang_mk(atom_to_list(Name), Version)),
    bct_repo:tag(Repo, "v" ++ Version).

%% The source stands in the second line.
spec(Config, Name, Version, Password) ->
    {["apps/", atom_to_list(Name), "/app.config"],
     io_lib:format("#{name => ~s, version => <<\"~s\">>,~n  source => #{type => git, url => <<\"~ts\">>, ref => <<\"v~s\">>}}.~n",
                   [Name, Version, url(Config, Name, Password), Version])}.

url(Config, Name, Password) ->
    <<"https://", Rest/binary>> = bct_https:url(proplists:get_value(server, Config), ["private/", atom_to_list(Name)]),
    iolist_to_binary(["https://deploy:", uri_string:quote(Password), "@", Rest]).

running(Name, Version) ->
    ?assertEqual(Version, gen_server:call(Name, version)),
    ok.

events() ->
    [
        ?TELEMETRY_RECONCILE_START, ?TELEMETRY_RECONCILE_STOP, ?TELEMETRY_RECONCILE_ERROR, ?TELEMETRY_GIT_PULL,
        [bc_gitops, git, clone_start], [bc_gitops, git, clone_stop], ?TELEMETRY_PARSE_START, ?TELEMETRY_PARSE_STOP,
        [bc_gitops, deploy, start], [bc_gitops, deploy, stop], [bc_gitops, upgrade, start], [bc_gitops, upgrade, stop],
        [bc_gitops, build, start], [bc_gitops, build, stop]
    ].

flush() ->
    receive {_, _} = Message -> [Message | flush()]; _ -> flush() after 0 -> [] end.
