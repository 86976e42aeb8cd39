%%% Release sources: real archives of rebar3 and mix through the real reconciler, and what servers and
%%% archives can do wrong.
-module(release_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-define(APP, bct_small).
-define(HAS_NODE(Case), Case =:= release_of_rebar3_is_deployed_and_upgraded;
                        Case =:= release_of_mix_is_deployed).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [{group, real}, {group, digests}, {group, servers}, {group, archives}].

groups() ->
    [
        {real, [], [
            release_of_rebar3_is_deployed_and_upgraded, release_of_mix_brings_its_elixir,
            release_of_mix_is_deployed, progress_is_told
        ]},
        {digests, [], [
            digest_is_compared_before_unpacking, digest_in_base64, missing_digest_is_refused,
            malformed_digest
        ]},
        {servers, [], [
            broken_connection_is_resumed, the_next_try_goes_on, server_that_lies, server_without_the_archive,
            redirects_are_followed, own_ca, silent_server_is_left, local_archives_only_when_allowed,
            nothing_secret_is_shown
        ]},
        {archives, [], [
            with_a_directory_at_the_top, old_libraries_stay_behind, hostile_archives_are_refused,
            bomb_is_refused, release_of_another_erts, library_for_another_machine,
            version_is_another, application_that_is_not_in_it, no_release_at_all
        ]}
    ].

init_per_group(real, Config) ->
    Dir = bct_dir:make("releases"),
    [{built, Dir} | Config];
init_per_group(_Group, Config) ->
    Config.

end_per_group(real, Config) -> bct_dir:remove(?config(built, Config));
end_per_group(_Group, _Config) -> ok.

init_per_testcase(Case, Config) when ?HAS_NODE(Case) ->
    [{context, bct_gitops:setup(atom_to_list(Case))} | Config];
init_per_testcase(_Case, Config) ->
    bct_workspace:start(Config).

end_per_testcase(Case, Config) when ?HAS_NODE(Case) ->
    bct_gitops:teardown(?config(context, Config));
end_per_testcase(_Case, Config) ->
    bc_gitops_config:deactivate(),
    bct_workspace:stop(Config).

%%% real

release_of_rebar3_is_deployed_and_upgraded(Config) ->
    Context = ?config(context, Config),
    One = bct_release:rebar3(built(Config), "1.0.0"),
    Two = bct_release:rebar3(built(Config), "1.1.0"),
    Server = bct_files:start(fun
        (<<"/one.tar.gz">>, _) -> bct_files:whole(One);
        (<<"/two.tar.gz">>, _) -> bct_files:whole(Two)
    end),
    Push = fun(Version, File, Archive) ->
        Source = #{type => release, url => bct_files:url(Server, File), sha256 => bct_release:sha256(Archive)},
        bct_gitops:push(Context, [bct_gitops:spec(bct_shop, Version, #{source => Source})])
    end,
    _ = Push("1.0.0", "/one.tar.gz", One),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default}),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"1.0.0">>, bct_gitops:version(bct_shop)),
    ?assertEqual("1.0.0", gen_server:call(bct_shop, version)),
    ?assertEqual("1.0.0", gen_server:call(bct_goods, version)),
    Lib = code:lib_dir(bct_shop),
    ?assertEqual({ok, <<"hello">>}, file:read_file(filename:join(code:priv_dir(bct_shop), "greeting.txt"))),
    Kept = filelib:wildcard("*", filename:dirname(Lib)),
    ?assertEqual(["bct_goods", "bct_shop"], Kept, "OTP's libraries and what nobody needs stay behind"),
    _ = Push("1.1.0", "/two.tar.gz", Two),
    ok = bc_gitops:reconcile(),
    ?assertEqual({<<"1.1.0">>, "1.1.0"}, {bct_gitops:version(bct_shop), gen_server:call(bct_shop, version)}),
    ?assertEqual("1.1.0", gen_server:call(bct_goods, version)),
    _ = Push("1.0.0", "/one.tar.gz", One),
    ok = bc_gitops:reconcile(),
    ?assertEqual("1.0.0", gen_server:call(bct_shop, version)),
    ?assertEqual([<<"/one.tar.gz">>, <<"/two.tar.gz">>], bct_files:paths(Server), "each was fetched once"),
    _ = bct_gitops:push(Context, [bct_gitops:spec(bct_shop, "1.0.0", #{
        source => #{type => release, url => bct_files:url(Server, "/two.tar.gz"), sha256 => bct_release:sha256(One)}})]),
    ok = bc_gitops:reconcile(),
    ?assertEqual("1.0.0", gen_server:call(bct_shop, version)),
    bct_files:stop(Server).

release_of_mix_brings_its_elixir(Config) ->
    Archive = bct_release:mix(built(Config), "0.3.0"),
    {ok, #{libs := Libs, tool := release}} = prepare_archive(bct_shelf, "0.3.0", Archive, Config),
    ?assertEqual([elixir, logger, bct_shelf], [Name || #{name := Name} <- Libs]),
    Paths = [unicode:characters_to_list(filename:join(Path, "ebin")) || #{path := Path} <- Libs],
    Peer = bct_peer:start(#{args => ["-pa" | Paths]}),
    {ok, _} = bct_peer:call(Peer, application, ensure_all_started, [bct_shelf]),
    ?assertEqual({<<"0.3.0">>, 9}, {bct_peer:call(Peer, 'Elixir.BctShelf', version, []),
                                    bct_peer:call(Peer, 'Elixir.BctShelf', area, [3])}),
    peer:stop(Peer).

%% mix strips what it releases, so that nothing can consolidate its protocols: they work all the same.
release_of_mix_is_deployed(Config) ->
    Context = ?config(context, Config),
    Archive = bct_release:mix(built(Config), "0.3.0"),
    Server = bct_files:start(fun(<<"/shelf.tar.gz">>, _) -> bct_files:whole(Archive) end),
    Source = #{type => release, url => bct_files:url(Server, "/shelf.tar.gz"), sha256 => bct_release:sha256(Archive)},
    _ = bct_gitops:push(Context, [bct_gitops:spec(bct_shelf, "0.3.0", #{source => Source})]),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default}),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual({<<"0.3.0">>, 9}, {apply('Elixir.BctShelf', version, []), apply('Elixir.BctShelf', area, [3])}),
    ?assertEqual(<<"7">>, apply('Elixir.String.Chars', to_string, [7])),
    bct_files:stop(Server).

progress_is_told(Config) ->
    Archive = packed(Config, []),
    Self = self(),
    Tell = fun(Progress) -> Self ! {progress, Progress} end,
    {ok, _} = serve(Archive, fun(Source) -> prepare(Source, #{on_progress => Tell}) end),
    Size = byte_size(Archive),
    receive {progress, #{step := download, received_bytes := Bytes, total_bytes := Size}} when Bytes =< Size -> ok end.

%%% digests

digest_is_compared_before_unpacking(Config) ->
    %% a bomb and a climber: unpacking it would be refused in another way
    Archive = bct_release:pack(dir(Config), [{"../climbed", <<"x">>}]),
    Wrong = bct_release:sha256(<<"something else">>),
    {error, {digest_mismatch, #{expected := Wrong, found := Found, url := _, message := Message}}} =
        serve(Archive, fun(Source) -> prepare(Source#source_spec{sha256 = Wrong}) end),
    ?assertEqual(bct_release:sha256(Archive), Found),
    [?assertNotEqual(nomatch, binary:match(Message, Digest)) || Digest <- [Wrong, Found]],
    ?assertEqual([], bct_workspace:scratches()).

digest_in_base64(Config) ->
    Archive = packed(Config, []),
    Base64 = base64:encode(crypto:hash(sha256, Archive)),
    {ok, #{revision := Revision}} = serve(Archive, fun(Source) -> prepare(Source#source_spec{sha256 = Base64}) end),
    ?assertEqual(bct_release:sha256(Archive), Revision),
    Spec = #{name => a, version => <<"1">>, source => #{type => release, url => <<"https://h/a">>, sha256 => Base64}},
    ?assertMatch({ok, #app_spec{source = #source_spec{sha256 = Revision}}}, bc_gitops_parser:parse_app_config(Spec)).

missing_digest_is_refused(Config) ->
    Archive = packed(Config, []),
    Server = bct_files:start(fun(_, _) -> bct_files:whole(Archive) end),
    Source = #source_spec{type = release, url = bct_files:url(Server, "/a.tar.gz")},
    ?assertMatch({error, {sha256_missing, #{message := _}}}, prepare(Source)),
    ?assertEqual([], bct_files:paths(Server)),
    configure(#{allow_unverified_releases => true}),
    Revision = bct_release:sha256(Archive),
    ?assertMatch({ok, #{revision := Revision}}, prepare(Source)),
    ?assertMatch({ok, #{revision := Revision}}, prepare(Source)),
    ?assertEqual(2, length(bct_files:paths(Server))),
    bct_files:stop(Server).

malformed_digest(_Config) ->
    [?assertMatch({error, {bad_sha256, _}},
                  prepare(#source_spec{type = release, url = <<"https://127.0.0.1:1/a">>, sha256 = Bad}))
     || Bad <- [<<>>, <<"x">>, binary:copy(<<"g">>, 64), binary:copy(<<"A">>, 42), binary:copy(<<"A">>, 46)]],
    ?assertMatch({error, {bad_url, _}}, prepare(#source_spec{type = release, sha256 = <<>>})).

%%% servers

broken_connection_is_resumed(Config) ->
    Archive = packed(Config, [{"lib/bct_small-1.0.0/priv/large", crypto:strong_rand_bytes(3000000)}]),
    Server = bct_files:start(fun(_, Headers) -> bct_files:part(Archive, Headers) end),
    ?assertMatch({ok, _}, prepare(source(Server, "/a", Archive))),
    ?assertEqual(2, length(bct_files:paths(Server))),
    bct_files:stop(Server),
    %% one that does not know ranges is asked for everything again
    Counter = counters:new(1, []),
    Forgetful = bct_files:start(fun(_, _) ->
        ok = counters:add(Counter, 1, 1),
        case counters:get(Counter, 1) of
            1 -> bct_files:part(Archive, #{});
            _ -> bct_files:whole(Archive)
        end
    end),
    Again = bct_release:pack(dir(Config), bct_release:small(?APP, "1.0.1", [])),
    ?assertMatch({error, {digest_mismatch, _}}, prepare(source(Forgetful, "/a", Again))),
    bct_files:stop(Forgetful).

%% A try that is over leaves what it got, and nothing of what cannot be gone on with.
the_next_try_goes_on(Config) ->
    Archive = packed(Config, [{"lib/bct_small-1.0.0/priv/large", crypto:strong_rand_bytes(3000000)}]),
    Counter = counters:new(1, []),
    Failing = bct_files:start(fun(_, _) ->
        ok = counters:add(Counter, 1, 1),
        case counters:get(Counter, 1) of
            1 -> bct_files:part(Archive, #{});
            _ -> {send, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"}
        end
    end),
    ?assertMatch({error, {http_status, _}}, prepare(source(Failing, "/a", Archive))),
    bct_files:stop(Failing),
    ?assertMatch([_], unfinished(Config)),
    ?assertEqual([], bct_workspace:scratches()),
    #{pid := Pid} = Server = bct_files:start(fun(_, Headers) -> bct_files:part(Archive, Headers) end),
    ?assertMatch({ok, _}, prepare(source(Server, "/a", Archive))),
    receive {request, Pid, _, Headers} -> ?assertMatch(#{<<"Range">> := <<"bytes=", _/binary>>}, Headers) end,
    ?assertEqual([], bct_files:paths(Server)),
    ?assertEqual([], unfinished(Config)),
    Other = source(Server, "/a", bct_release:pack(dir(Config), bct_release:small(?APP, "1.0.1", []))),
    ?assertMatch({error, {digest_mismatch, _}}, prepare(Other)),
    ?assertEqual([], unfinished(Config)),
    bct_files:stop(Server),
    %% what no one comes back for goes with all that was fetched
    Left = filename:join([?config(workspace, Config), "unfinished", "left"]),
    ok = file:write_file(Left, <<"beginning">>),
    ok = bc_gitops_workspace:cleanup(),
    ?assertNot(filelib:is_file(Left)).

unfinished(Config) ->
    {ok, Names} = file:list_dir(filename:join(?config(workspace, Config), "unfinished")),
    Names.

server_that_lies(Config) ->
    Archive = packed(Config, []),
    Size = byte_size(Archive),
    Answer = fun(Length) ->
        fun(_, _) -> {send, ["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ",
                             integer_to_list(Length), "\r\n\r\n", Archive]} end
    end,
    [begin
        Server = bct_files:start(Answer(Length)),
        {error, {Kind, _}} = prepare(source(Server, "/a", Archive)),
        ?assertEqual(Expected, Kind),
        bct_files:stop(Server)
     end || {Length, Expected} <- [{Size + 1, connection_broken}, {Size - 1, digest_mismatch},
                                   {1 bsl 60, too_large}]],
    ?assertEqual([], bct_workspace:scratches()).

server_without_the_archive(Config) ->
    Archive = packed(Config, []),
    Status = fun(Line) -> fun(_, _) -> {send, ["HTTP/1.1 ", Line, "\r\ncontent-length: 0\r\n\r\n"]} end end,
    [begin
        Server = bct_files:start(Status(Line)),
        ?assertMatch({error, {Kind, #{message := _}}}, prepare(source(Server, "/a", Archive))),
        bct_files:stop(Server)
     end || {Line, Kind} <- [{"404 No", not_found}, {"401 No", auth_failed}, {"503 Busy", http_status},
                             {"204 Empty", protocol}]],
    Port = integer_to_list(bct_server:free_port()),
    Nobody = #{url => "http://127.0.0.1:" ++ Port},
    ?assertMatch({error, {unreachable, _}}, prepare(source(Nobody, "/a", Archive))).

redirects_are_followed(Config) ->
    Archive = packed(Config, []),
    Server = bct_files:start(fun
        (<<"/end?sig=1">>, _) -> bct_files:whole(Archive);
        (<<"/loop">>, _) -> {send, "HTTP/1.1 302 There\r\nlocation: /loop\r\ncontent-length: 0\r\n\r\n"};
        (<<"/down">>, _) -> {send, "HTTP/1.1 302 There\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n"};
        (_, _) -> {send, "HTTP/1.1 302 There\r\nlocation: /end?sig=1\r\ncontent-length: 0\r\n\r\n"}
    end),
    ?assertMatch({ok, _}, prepare(source(Server, "/a", Archive))),
    Other = bct_release:sha256(<<"x">>),
    [?assertMatch({error, {redirect, _}}, prepare((source(Server, Path, Archive))#source_spec{sha256 = Other}))
     || Path <- ["/loop", "/down"]],
    bct_files:stop(Server).

own_ca(Config) ->
    Archive = packed(Config, []),
    Ca = filename:join(dir(Config), "ca.pem"),
    Server = bct_files:start_tls(Ca, fun(_, _) -> bct_files:whole(Archive) end),
    Source = source(Server, "/a.tar.gz", Archive),
    ?assertMatch({error, {certificate, _}}, prepare(Source)),
    configure(#{git_ca_file => Ca}),
    ?assertMatch({ok, _}, prepare(Source)),
    bct_files:stop(Server).

%% Whoever waits for the archive goes, and the connection with it.
silent_server_is_left(Config) ->
    Archive = packed(Config, []),
    #{pid := Pid} = Server = bct_files:start(fun(_, _) -> {hang, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nxx"} end),
    Source = source(Server, "/a", Archive),
    {Worker, Monitor} = spawn_monitor(fun() -> prepare(Source) end),
    receive {request, Pid, _, _} -> ok end,
    exit(Worker, kill),
    receive {'DOWN', Monitor, process, Worker, killed} -> ok end,
    receive {closed, Pid} -> ok end,
    ?assertMatch({error, {timeout, _}}, prepare(Source, #{timeout => 500})),
    receive {closed, Pid} -> ok end,
    bct_files:stop(Server).

local_archives_only_when_allowed(Config) ->
    Archive = packed(Config, []),
    File = filename:join(dir(Config), "a b?.tar.gz"),
    ok = file:write_file(File, Archive),
    Sha256 = bct_release:sha256(Archive),
    [begin
        Source = #source_spec{type = release, url = iolist_to_binary([Prefix, File]), sha256 = Sha256},
        ?assertMatch({error, {bad_url, _}}, prepare(Source, #{allow_local => false})),
        Before = prepare(Source, #{allow_local => true}),
        ?assertMatch({error, {bad_url, _}}, Before, "no white space")
     end || Prefix <- ["", "file://"]],
    Plain = iolist_to_binary(filename:join(dir(Config), "a.tar.gz")),
    ok = file:write_file(Plain, Archive),
    Source = #source_spec{type = release, url = Plain, sha256 = Sha256},
    ?assertMatch({ok, _}, prepare(Source, #{allow_local => true})),
    ?assertMatch({error, {bad_url, _}},
                 prepare(Source#source_spec{url = <<"http://example.org/a">>, sha256 = bct_release:sha256(<<>>)})).

nothing_secret_is_shown(Config) ->
    Archive = packed(Config, []),
    Server = bct_files:start(fun(_, _) -> {send, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"} end),
    <<"http://", Rest/binary>> = bct_files:url(Server, "/a?sig=canary"),
    Url = <<"http://me:canary@", Rest/binary>>,
    Source = (source(Server, "/a", Archive))#source_spec{url = Url},
    Failure = prepare(Source),
    ?assertMatch({error, {http_status, _}}, Failure),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [Failure]), "canary")),
    {ok, Log} = bc_gitops_workspace:build_log(?APP),
    ?assertEqual(nomatch, binary:match(Log, <<"canary">>)),
    bct_files:stop(Server).

%%% archives

with_a_directory_at_the_top(Config) ->
    Files = [{"small-1.0.0/" ++ Path, Content} || {Path, Content} <- bct_release:small(?APP, "1.0.0", [])],
    ?assertMatch({ok, #{version := <<"1.0.0">>, tool := release}}, prepare_files(Files, Config)),
    ok = bc_gitops_workspace:init(filename:join(dir(Config), "other")),
    Plain = bct_release:pack(dir(Config), Files, []),
    ?assertMatch({ok, #{tool := release}}, prepare_archive(?APP, "1.0.0", Plain, Config)).

%% A release that was upgraded has the libraries of both.
old_libraries_stay_behind(Config) ->
    Old = [File || {"lib" ++ _, _} = File <- bct_release:small(?APP, "9.0.0", [])],
    Rel = "{release,{\"s\",\"1.0.0\"},{erts,\"13.0\"},[{kernel,\"8.0\"},{bct_small,\"1.0.0\"}]}.",
    Files = bct_release:small(?APP, "1.0.0", Old ++ [{"releases/1.0.0/s.rel", Rel}]),
    ?assertMatch({ok, #{version := <<"1.0.0">>, libs := [_]}}, prepare_files(Files, Config)).

hostile_archives_are_refused(Config) ->
    Canary = filename:join(dir(Config), "canary"),
    ok = file:write_file(Canary, "alive"),
    [begin
        Files = bct_release:small(?APP, "1.0.0", Extra),
        {error, {Found, #{message := _, url := _}}} = prepare_files(Files, Config),
        ?assertEqual(Kind, Found)
     end || {Kind, Extra} <- [
        {bad_path, [{"../../../canary", "dead"}]},
        {bad_path, [{"/tmp/canary", "dead"}]},
        {link_outside, [{"lib/l", {symlink, "../../../.."}}]},
        {link_outside, [{"lib/l", {symlink, "/etc"}}]},
        {duplicate_entry, [{"lib/l", {symlink, "x"}}, {"lib/l/canary", "dead"}]},
        {duplicate_entry, [{"twice", "1"}, {"twice", "2"}]}
    ]],
    ?assertMatch({error, {bad_archive, _}}, prepare_archive(?APP, "1.0.0", <<"PK no tar at all">>, Config)),
    ?assertEqual({ok, <<"alive">>}, file:read_file(Canary)),
    ?assertEqual([], bct_workspace:scratches()).

bomb_is_refused(Config) ->
    Zeros = binary:copy(<<0>>, 50000000),
    Files = bct_release:small(?APP, "1.0.0", [{"zeros", Zeros}]),
    {error, {too_large, #{message := Message}}} = prepare_files(Files, Config),
    ?assertNotEqual(nomatch, binary:match(Message, <<"bomb">>)).

release_of_another_erts(Config) ->
    Rel = fun(Erts) -> ["{release,{\"s\",\"1.0.0\"},{erts,\"", Erts, "\"},[]}."] end,
    Running = list_to_binary(erlang:system_info(version)),
    [begin
        All = bct_release:small(?APP, "1.0.0", Extra),
        Files = [File || {Path, _} = File <- All, Extra =:= [] orelse lists:keymember(Path, 1, Extra)
                         orelse Path =/= "releases/start_erl.data"],
        {error, {release_erts, #{release := Made, running := Here, message := Message}}} =
            prepare_files(Files, Config),
        ?assertEqual(<<"99.1 (OTP 111)">>, Made),
        [?assertNotEqual(nomatch, binary:match(Text, Part))
         || {Text, Part} <- [{Here, Running}, {Message, Made}, {Message, Here}]]
     end || Extra <- [[{"releases/start_erl.data", "99.1 1.0.0\n"}], [{"releases/s.rel", Rel("99.1")}],
                      [{"erts-99.1/bin/erl", "x"}]]],
    %% a tree that says nothing is believed
    Bare = [File || {"lib" ++ _, _} = File <- bct_release:small(?APP, "1.0.0", [])],
    ?assertMatch({ok, #{toolchain := <<"release of an unknown ERTS">>}}, prepare_files(Bare, Config)).

library_for_another_machine(Config) ->
    Elf = <<16#7f, "ELF", 2, 1, 1, 0:72, 3:16/little, 20:16/little, 0:800>>,
    Files = bct_release:small(?APP, "1.0.0", [{"lib/bct_small-1.0.0/priv/native/it.so", Elf}]),
    {error, {wrong_architecture, #{file := <<"it.so">>, found := <<"machine 20">>, needed := Own}}} =
        prepare_files(Files, Config),
    ?assertNotEqual(<<"machine 20">>, Own).

version_is_another(Config) ->
    Archive = packed(Config, []),
    ?assertMatch({error, {version_mismatch, #{spec := <<"2.0.0">>}}},
                 prepare_archive(?APP, "2.0.0", Archive, Config)).

application_that_is_not_in_it(Config) ->
    Archive = packed(Config, []),
    ?assertMatch({error, {app_not_built, #{found := [<<"bct_small">>]}}},
                 prepare_archive(bct_absent, "1.0.0", Archive, Config)).

no_release_at_all(Config) ->
    ?assertMatch({error, {app_not_built, #{found := []}}}, prepare_files([{"readme", "x"}], Config)).

%%% helpers

built(Config) -> unicode:characters_to_list(?config(built, Config)).

dir(Config) -> unicode:characters_to_list(?config(dir, Config)).

%% Not checked as at a start: the rest of the configuration stays what it is without one.
configure(Map) ->
    {ok, Loaded} = bc_gitops_config:load(Map),
    bc_gitops_config:activate(Loaded).

packed(Config, Extra) ->
    bct_release:pack(dir(Config), bct_release:small(?APP, "1.0.0", Extra)).

source(Server, Path, Archive) ->
    #source_spec{type = release, url = bct_files:url(Server, Path), sha256 = bct_release:sha256(Archive)}.

serve(Archive, Fun) ->
    Server = bct_files:start(fun(_, _) -> bct_files:whole(Archive) end),
    Result = Fun(source(Server, "/archive.tar.gz", Archive)),
    bct_files:stop(Server),
    Result.

prepare_files(Files, Config) ->
    prepare_archive(?APP, "1.0.0", bct_release:pack(dir(Config), Files), Config).

prepare_archive(App, Version, Archive, _Config) ->
    serve(Archive, fun(Source) -> prepare(App, Source, #{version => list_to_binary(Version)}) end).

prepare(Source) -> prepare(Source, #{}).

prepare(Source, Options) -> prepare(?APP, Source, Options).

%% Whatever goes wrong is also said in one line.
prepare(App, Source, Options) ->
    Result = bct_workspace:prepare(App, Source, maps:merge(#{allow_local => false}, Options)),
    case Result of
        {error, {_, #{message := Message}}} ->
            ?assertEqual(nomatch, binary:match(Message, <<"\n">>)),
            ct:log("~ts", [Message]);
        {ok, _} ->
            ok
    end,
    Result.
