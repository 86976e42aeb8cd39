%%% Mesh sources: content by its digest, from directories, web servers and macula's module, built and
%%% kept. Other nodes and the reconciler are in mesh_deploy_SUITE.
-module(mesh_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_workspace, [prepare/2, prepare/3]).
-import(bct_content, [archive/2, tree/2, store/2, raw/1, mcid/2, put/3, source/1]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [{group, stores}, {group, failures}, {group, manifests}, {group, macula}].

groups() ->
    [
        {stores, [], [
            an_archive_out_of_a_directory_is_built, an_archive_out_of_a_web_server_is_built,
            a_short_digest_names_content, a_project_in_a_directory_of_its_own_is_found,
            going_back_asks_nobody, the_cache_serves_another_app, a_damaged_cache_is_not_used,
            events_tell_store_and_bytes, progress_is_told, the_cache_is_trimmed
        ]},
        {failures, [], [
            wrong_bytes_are_named_and_the_next_store_is_asked, wrong_bytes_everywhere,
            a_truncated_answer_is_no_content, a_silent_server_gives_way, servers_that_fail_are_named,
            nobody_has_it, no_store_at_all, a_missing_directory_is_told, what_is_no_content_id,
            content_that_is_no_archive, content_that_leads_out, nothing_is_left
        ]},
        {manifests, [], [
            a_tree_is_laid_out_and_built, a_tree_over_the_web, an_archive_in_chunks,
            common_files_are_fetched_once, a_piece_with_wrong_bytes_is_fetched_elsewhere,
            a_missing_piece_is_named, hostile_manifests
        ]},
        {macula, [], [
            macula_comes_first_and_is_marked, macula_gives_bytes_paths_and_maps,
            macula_fails_and_the_stores_are_asked, macula_hangs_and_the_stores_are_asked,
            a_manifest_of_ours_through_macula
        ]}
    ].

init_per_testcase(_Case, Config) -> bct_workspace:start(Config).

end_per_testcase(_Case, Config) ->
    application:unset_env(bc_gitops, content_stores),
    bct_workspace:stop(Config).

stores(Stores) -> application:set_env(bc_gitops, content_stores, Stores).

dir(Config) -> ?config(dir, Config).

%% A project as a tar.gz.
project(Config, App, Version) ->
    archive(dir(Config), bct_app:erlang_mk(App, Version)).

%% A store with a project in it.
published(Config, Name, App, Version) ->
    Bytes = project(Config, App, Version),
    Store = store(dir(Config), Name),
    ok = put(Store, raw(Bytes), Bytes),
    {Store, Bytes, raw(Bytes)}.

serving(Handler, Fun) ->
    Web = bct_files:start(fun(Path, _Headers) -> Handler(Path) end),
    try Fun(Web) after bct_files:stop(Web) end.

status(Code) ->
    {send, ["HTTP/1.1 ", integer_to_list(Code), " x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"]}.

url(Web) -> bct_files:url(Web, "").

%% A web server that has what the directory has.
files_of(Dir) ->
    fun(Path) ->
        case file:read_file(filename:join(Dir, filename:basename(Path))) of
            {ok, Bytes} -> bct_files:whole(Bytes);
            {error, _} -> status(404)
        end
    end.

message({error, {_Kind, #{message := Message}}}) -> Message.

said(Text, Log) -> [Line || Line <- Log, string:find(Line, Text) =/= nomatch].

%% Fetching alone, in milliseconds.
fetch(Config, Mcid, Timeout) ->
    Source = source(Mcid),
    {ok, _} = Known = bc_gitops_source:resolve(Source, #{timeout => Timeout}),
    Options = #{timeout => Timeout, content => filename:join(dir(Config), "content")},
    bc_gitops_source:fetch(demo_fetched, Source, Known, filename:join(dir(Config), "fetched"), Options).

%% What is kept.
cached(Config) -> filelib:wildcard("content/*", binary_to_list(?config(workspace, Config))).

-define(assertSays(Text, Result),
        ?assertNotEqual({nomatch, Result}, {string:find(message(Result), Text), Result})).

%%% stores

an_archive_out_of_a_directory_is_built(Config) ->
    {Store, _, Mcid} = published(Config, "store", "demo_mesh", "1.2.3"),
    stores([Store]),
    {ok, #{version := Version, revision := Revision, tool := Tool, verified := Verified} = Build} =
        prepare(demo_mesh, source(Mcid)),
    ?assertEqual({<<"1.2.3">>, erlang_mk, digest}, {Version, Tool, Verified}),
    ?assertEqual(Mcid, <<"mcid1-raw-blake3-", Revision/binary>>),
    ?assertEqual(ok, bc_gitops_workspace:check(Build)),
    %% the store keeps who vouched for the content
    ?assertMatch({ok, #{verified := digest}}, bc_gitops_workspace:lookup(maps:get(key, Build))).

an_archive_out_of_a_web_server_is_built(Config) ->
    {Store, _, Mcid} = published(Config, "store", "demo_web", "1.0.0"),
    serving(files_of(Store), fun(Web) ->
        stores([bct_files:url(Web, "/content/")]),
        {ok, #{version := <<"1.0.0">>}} = prepare(demo_web, source(Mcid)),
        ?assertEqual([<<"/content/", Mcid/binary>>], bct_files:paths(Web))
    end).

a_short_digest_names_content(Config) ->
    Bytes = project(Config, "demo_short", "1.0.0"),
    <<Short:49/binary, _/binary>> = raw(Bytes),
    Store = store(dir(Config), "store"),
    ok = put(Store, Short, Bytes),
    stores([Store]),
    Upper = <<"mcid1-raw-blake3-", (string:uppercase(binary:part(Short, 17, 32)))/binary>>,
    {ok, #{revision := Revision}} = prepare(demo_short, source(Upper)),
    ?assertEqual(Short, <<"mcid1-raw-blake3-", Revision/binary>>).

a_project_in_a_directory_of_its_own_is_found(Config) ->
    Files = [{"demo_in-1.0.0/" ++ Path, Content}
             || {Path, Content} <- bct_app:erlang_mk("demo_in", "1.0.0")],
    Bytes = archive(dir(Config), Files),
    Store = store(dir(Config), "store"),
    ok = put(Store, raw(Bytes), Bytes),
    stores([Store]),
    ?assertMatch({ok, #{version := <<"1.0.0">>}}, prepare(demo_in, source(raw(Bytes)))).

going_back_asks_nobody(Config) ->
    {Store, _, Mcid} = published(Config, "store", "demo_back", "1.0.0"),
    stores([Store]),
    {ok, Build} = prepare(demo_back, source(Mcid)),
    stores([]),
    ok = file:del_dir_r(filename:join(?config(workspace, Config), "content")),
    ?assertEqual({ok, Build}, prepare(demo_back, source(Mcid))),
    ?assertEqual(1, bct_workspace:builds(demo_back, "make app")).

%% What was verified once is not fetched again, for whom it may be.
the_cache_serves_another_app(Config) ->
    Files = bct_app:erlang_mk("demo_one", "1.0.0"),
    Bytes = archive(dir(Config), Files),
    Store = store(dir(Config), "store"),
    ok = put(Store, raw(Bytes), Bytes),
    stores([Store]),
    {error, {app_not_built, _}} = prepare(demo_other, source(raw(Bytes))),
    stores([]),
    ?assertMatch({ok, _}, prepare(demo_one, source(raw(Bytes)))).

a_damaged_cache_is_not_used(Config) ->
    {Store, Bytes, Mcid} = published(Config, "store", "demo_dam", "1.0.0"),
    stores([Store]),
    {error, {app_not_built, _}} = prepare(demo_warm, source(Mcid)),
    [Cached] = cached(Config),
    File = filename:join(?config(workspace, Config), Cached),
    ok = file:write_file(File, <<Bytes/binary, 0>>),
    Log = bct_log:capture(fun() ->
        ?assertMatch({ok, _}, prepare(demo_dam, source(Mcid)))
    end),
    ?assertMatch([_], said("in the cache of content is damaged", Log)),
    ?assertEqual({ok, Bytes}, file:read_file(File)).

events_tell_store_and_bytes(Config) ->
    {Store, Bytes, Mcid} = published(Config, "store", "demo_ev", "1.0.0"),
    stores([Store]),
    {ok, Telemetry} = bc_gitops_telemetry:start_link(),
    Self = self(),
    Events = [?TELEMETRY_MESH_FETCH_START, ?TELEMETRY_MESH_FETCH_STOP],
    [ok = bc_gitops_telemetry:attach({?FUNCTION_NAME, Event}, Event,
        fun(E, Measured, Metadata, _) -> Self ! {E, Measured, Metadata} end, []) || Event <- Events],
    {ok, _} = prepare(demo_ev, source(Mcid)),
    Missing = raw(<<"nothing">>),
    {error, {content_not_found, _}} = prepare(demo_ev, source(Missing)),
    [ok = bc_gitops_telemetry:detach({?FUNCTION_NAME, Event}) || Event <- Events],
    Size = byte_size(Bytes),
    Next = fun(Event) ->
        receive {Event, Measured, Metadata} -> {Measured, Metadata} after 0 -> none end
    end,
    ?assertMatch({#{system_time := _}, #{app := demo_ev, mcid := Mcid}},
                 Next(?TELEMETRY_MESH_FETCH_START)),
    {#{duration := Duration}, Stop} = Next(?TELEMETRY_MESH_FETCH_STOP),
    ?assertEqual(#{app => demo_ev, mcid => Mcid, store => Store, bytes => Size, verified => digest,
                   status => ok}, Stop),
    ?assert(is_integer(Duration)),
    ?assertMatch({_, #{mcid := Missing}}, Next(?TELEMETRY_MESH_FETCH_START)),
    ?assertMatch({_, #{status := error, error := content_not_found}}, Next(?TELEMETRY_MESH_FETCH_STOP)),
    ?assertEqual(none, Next(?TELEMETRY_MESH_FETCH_STOP)),
    ok = gen_server:stop(Telemetry).

progress_is_told(Config) ->
    From = tree(filename:join(dir(Config), "from"), bct_app:erlang_mk("demo_pr", "1.0.0")),
    Store = store(dir(Config), "store"),
    {ok, Mcid} = bc_gitops_content:publish(From, Store),
    stores([Store]),
    Self = self(),
    Tell = fun(Progress) -> Self ! {progress, Progress} end,
    {ok, _} = prepare(demo_pr, source(Mcid), #{on_progress => Tell}),
    Told = (fun All() -> receive {progress, P} -> [P | All()] after 0 -> [] end end)(),
    Received = [R || #{received_bytes := R, total_bytes := _} <- Told],
    ?assertEqual(lists:sort(Received), Received),
    #{received_bytes := Total, total_bytes := Total} = lists:last(Told).

the_cache_is_trimmed(Config) ->
    Cache = store(dir(Config), "cache"),
    Old = {{2020, 1, 1}, {0, 0, 0}},
    [begin
        File = filename:join(Cache, Name),
        ok = file:write_file(File, binary:copy(<<"x">>, 10)),
        ok = file:change_time(File, setelement(1, Old, setelement(1, element(1, Old), Year)))
     end || {Name, Year} <- [{"a", 2021}, {"b", 2023}, {"c", 2022}]],
    ok = bc_gitops_content_cache:trim(Cache, 25),
    ?assertEqual({ok, ["b", "c"]}, sorted(file:list_dir(Cache))),
    ok = bc_gitops_content_cache:trim(Cache, 0),
    ?assertEqual({ok, []}, file:list_dir(Cache)),
    ?assertEqual(ok, bc_gitops_content_cache:trim(filename:join(Cache, "none"), 0)).

sorted({ok, Names}) -> {ok, lists:sort(Names)}.

%%% failures

wrong_bytes_are_named_and_the_next_store_is_asked(Config) ->
    {Right, Bytes, Mcid} = published(Config, "right", "demo_next", "1.0.0"),
    Wrong = store(dir(Config), "wrong"),
    ok = put(Wrong, Mcid, <<Bytes/binary, "more">>),
    Lies = fun(_) -> bct_files:whole(<<"other bytes">>) end,
    serving(Lies, fun(Web) ->
        stores([Wrong, url(Web), Right]),
        Log = bct_log:capture(fun() -> ?assertMatch({ok, _}, prepare(demo_next, source(Mcid))) end),
        Named = said("has other bytes as " ++ binary_to_list(Mcid), Log),
        ?assertMatch([_, _], Named),
        ?assertNotEqual(nomatch, string:find(hd(Named), Wrong)),
        ?assertNotEqual(nomatch, string:find(lists:last(Named), url(Web)))
    end).

wrong_bytes_everywhere(Config) ->
    Mcid = raw(<<"what was meant">>),
    Store = store(dir(Config), "store"),
    ok = put(Store, Mcid, <<"what is there">>),
    stores([Store, store(dir(Config), "empty")]),
    {error, {content_mismatch, #{tried := Tried}}} = Result = prepare(demo_wrong, source(Mcid)),
    ?assertEqual([{Store, content_mismatch}, {filename:join(dir(Config), "empty"), not_found}], Tried),
    ?assertSays("put the right bytes there", Result),
    ?assertSays(Store, Result),
    ?assertEqual([], cached(Config)).

a_truncated_answer_is_no_content(Config) ->
    {Store, Bytes, Mcid} = published(Config, "store", "demo_cut", "1.0.0"),
    Cuts = fun(_) -> bct_files:part(Bytes, #{}) end,
    serving(Cuts, fun(Web) ->
        stores([url(Web)]),
        Result = prepare(demo_cut, source(Mcid)),
        ?assertMatch({error, {content_unavailable, _}}, Result),
        stores([url(Web), Store]),
        ?assertMatch({ok, _}, prepare(demo_cut, source(Mcid)))
    end).

%% The silent server gets its share of the time and no more.
a_silent_server_gives_way(Config) ->
    {Store, _, Mcid} = published(Config, "store", "demo_silent", "1.0.0"),
    serving(fun(_) -> {hang, <<>>} end, fun(Web) ->
        stores([url(Web), Store]),
        ?assertMatch({ok, #{verified := digest}}, fetch(Config, Mcid, 4000)),
        ?assertMatch([_], bct_files:paths(Web))
    end).

servers_that_fail_are_named(_Config) ->
    Mcid = raw(<<"x">>),
    serving(fun(_) -> status(503) end, fun(Web) ->
        Gone = bct_server:free_port(),
        stores([url(Web), iolist_to_binary(["http://127.0.0.1:", integer_to_list(Gone)]), "http://192.0.2.1/x"]),
        {error, {content_unavailable, #{tried := Tried}}} = Result =
            prepare(demo_fails, source(Mcid)),
        ?assertMatch([{_, http_status}, {_, unreachable}, {_, bad_url}], Tried),
        ?assertSays(url(Web), Result),
        ?assertSays("status 503", Result)
    end).

nobody_has_it(Config) ->
    Mcid = raw(<<"x">>),
    serving(fun(_) -> status(404) end, fun(Web) ->
        Store = store(dir(Config), "store"),
        stores([Store, url(Web), nodes]),
        {error, {content_not_found, #{mcid := Mcid}}} = Result = prepare(demo_none, source(Mcid)),
        Asked = [Store, url(Web), "the connected nodes"],
        Said = lists:join("; ", [[One, ": does not have it"] || One <- Asked]),
        ?assertSays(iolist_to_binary(Said), Result)
    end).

no_store_at_all(_Config) ->
    {error, {no_content_store, _}} = Result = prepare(demo_nowhere, source(raw(<<"x">>))),
    ?assertSays("content_stores names no store", Result).

a_missing_directory_is_told(Config) ->
    stores([filename:join(dir(Config), "not-mounted")]),
    {error, {content_unavailable, _}} = Result = prepare(demo_unmounted, source(raw(<<"x">>))),
    ?assertSays("there is no such directory", Result).

what_is_no_content_id(_Config) ->
    [begin
        {error, {bad_mcid, _}} = Result = prepare(demo_bad, source(Bad)),
        ?assertSays("mcid", Result)
     end || Bad <- [undefined, <<>>, <<"mcid1-raw-sha256-00">>, <<"../../etc/passwd">>]].

content_that_is_no_archive(Config) ->
    Bytes = <<"no archive at all">>,
    Store = store(dir(Config), "store"),
    ok = put(Store, raw(Bytes), Bytes),
    stores([Store]),
    Mcid = raw(Bytes),
    {error, {bad_archive, #{mcid := Mcid, message := Message}}} = prepare(demo_noarc, source(Mcid)),
    ?assertNotEqual(nomatch, binary:match(Message, Mcid)).

content_that_leads_out(Config) ->
    Outside = filename:join(dir(Config), "outside"),
    Bytes = archive(dir(Config), [{"ok", "x"}, {"../../outside", "written"}]),
    Store = store(dir(Config), "store"),
    ok = put(Store, raw(Bytes), Bytes),
    stores([Store]),
    {error, {bad_path, #{message := Message}}} = prepare(demo_out, source(raw(Bytes))),
    ?assertNotEqual(nomatch, binary:match(Message, <<": ../../outside">>)),
    ?assertNot(filelib:is_file(Outside)).

nothing_is_left(Config) ->
    {Store, Bytes, Mcid} = published(Config, "store", "demo_left", "1.0.0"),
    ok = put(Store, raw(<<"y">>), <<"z">>),
    stores([Store]),
    {ok, _} = prepare(demo_left, source(Mcid)),
    {error, _} = prepare(demo_left, source(raw(<<"y">>))),
    ?assertEqual([], bct_workspace:scratches()),
    ?assertEqual({ok, Bytes}, file:read_file(filename:join(Store, Mcid))),
    ?assertMatch([_], cached(Config)),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([], cached(Config)).

%%% manifests

a_tree_is_laid_out_and_built(Config) ->
    Files = bct_app:erlang_mk("demo_tree", "1.0.0", "./bin/prepare && test -f priv/made"),
    From = tree(filename:join(dir(Config), "from"),
                [{"bin/prepare", "#!/bin/sh\nmkdir -p priv; echo x > priv/made\n"} | Files]),
    ok = file:change_mode(filename:join(From, "bin/prepare"), 8#755),
    Store = store(dir(Config), "store"),
    {ok, <<"mcid1-manifest-blake3-", Digest/binary>> = Mcid} = bc_gitops_content:publish(From, Store),
    stores([Store]),
    {ok, #{revision := Revision, path := Path}} = prepare(demo_tree, source(Mcid)),
    ?assertEqual(Digest, Revision),
    ?assertEqual({ok, <<"x\n">>}, file:read_file(filename:join(Path, "priv/made"))).

a_tree_over_the_web(Config) ->
    From = tree(filename:join(dir(Config), "from"), bct_app:erlang_mk("demo_treeweb", "1.0.0")),
    Store = store(dir(Config), "store"),
    {ok, Mcid} = bc_gitops_content:publish(From, Store, #{chunk_size => 100}),
    serving(files_of(Store), fun(Web) ->
        stores([url(Web)]),
        ?assertMatch({ok, #{version := <<"1.0.0">>}}, prepare(demo_treeweb, source(Mcid))),
        {ok, Names} = file:list_dir(Store),
        ?assertEqual(lists:sort([list_to_binary("/" ++ Name) || Name <- Names]),
                     lists:sort(bct_files:paths(Web)))
    end).

an_archive_in_chunks(Config) ->
    File = filename:join(dir(Config), "archive.tar.gz"),
    ok = file:write_file(File, project(Config, "demo_chunks", "1.0.0")),
    Store = store(dir(Config), "store"),
    {ok, <<"mcid1-manifest-", _/binary>> = Mcid} =
        bc_gitops_content:publish(File, Store, #{chunk_size => 200}),
    stores([Store]),
    ?assertMatch({ok, #{version := <<"1.0.0">>}}, prepare(demo_chunks, source(Mcid))).

%% The second version brings what is new in it and nothing else.
common_files_are_fetched_once(Config) ->
    Store = store(dir(Config), "store"),
    serving(files_of(Store), fun(Web) ->
        stores([url(Web)]),
        Take = fun(Version) ->
            Same = {"priv/big", binary:copy(<<"same">>, 1000)},
            From = tree(filename:join(dir(Config), Version),
                        [Same | bct_app:erlang_mk("demo_common", Version)]),
            {ok, Mcid} = bc_gitops_content:publish(From, Store),
            {ok, #{version := _}} = prepare(demo_common, source(Mcid))
        end,
        _ = Take("1.0.0"),
        First = bct_files:paths(Web),
        _ = Take("2.0.0"),
        %% the manifest, and the files that say the version
        Second = bct_files:paths(Web),
        ?assertEqual(4, length(Second)),
        ?assertEqual(length(First ++ Second), length(lists:usort(First ++ Second)))
    end).

a_piece_with_wrong_bytes_is_fetched_elsewhere(Config) ->
    From = tree(filename:join(dir(Config), "from"), bct_app:erlang_mk("demo_piece", "1.0.0")),
    Store = store(dir(Config), "store"),
    {ok, Mcid} = bc_gitops_content:publish(From, Store),
    Broken = store(dir(Config), "broken"),
    {ok, Names} = file:list_dir(Store),
    [{ok, _} = file:copy(filename:join(Store, Name), filename:join(Broken, Name)) || Name <- Names],
    [Piece | _] = [Name || "mcid1-raw-" ++ _ = Name <- lists:sort(Names)],
    ok = file:write_file(filename:join(Broken, Piece), <<"x">>),
    stores([Broken]),
    ?assertMatch({error, {content_mismatch, _}}, prepare(demo_piece, source(Mcid))),
    stores([Broken, Store]),
    ?assertMatch({ok, _}, prepare(demo_piece, source(Mcid))).

a_missing_piece_is_named(Config) ->
    From = tree(filename:join(dir(Config), "from"), bct_app:erlang_mk("demo_miss", "1.0.0")),
    Store = store(dir(Config), "store"),
    {ok, Mcid} = bc_gitops_content:publish(From, Store),
    {ok, Names} = file:list_dir(Store),
    [Piece | _] = [Name || "mcid1-raw-" ++ _ = Name <- lists:sort(Names)],
    ok = file:delete(filename:join(Store, Piece)),
    stores([Store]),
    Result = prepare(demo_miss, source(Mcid)),
    ?assertMatch({error, {content_not_found, _}}, Result),
    ?assertSays(Piece, Result),
    ?assertSays(Mcid, Result).

hostile_manifests(Config) ->
    Store = store(dir(Config), "store"),
    stores([Store]),
    Content = <<"content">>,
    ok = put(Store, raw(Content), Content),
    <<"mcid1-raw-blake3-", Digest/binary>> = raw(Content),
    File = fun(Path, Size) ->
        io_lib:format("{\"path\": \"~s\", \"size\": ~b, \"blake3\": \"~s\"}", [Path, Size, Digest])
    end,
    Files = fun(Entries) ->
        iolist_to_binary(["{\"bc_gitops_manifest\": 1, \"files\": [", lists:join(",", Entries), "]}"])
    end,
    Says = fun(Manifest, Kind, Text) ->
        Mcid = mcid(manifest, Manifest),
        ok = put(Store, Mcid, Manifest),
        {error, {Kind, _}} = Result = prepare(demo_hostile, source(Mcid)),
        ?assertSays(Text, Result)
    end,
    Says(Files([File("../../../outside", 7)]), bad_manifest, "relative path"),
    Says(Files([File("/tmp/outside", 7)]), bad_manifest, "relative path"),
    Says(Files([File("a", 7), File("a", 7)]), bad_manifest, "listed before"),
    Says(Files([File("a", 7), File("a/b", 7)]), bad_manifest, "listed before"),
    Says(Files([File("a", 7), File("b", 8)]), bad_manifest, "another size"),
    Says(Files([File("a", 1 bsl 50)]), bad_manifest, "expected a size"),
    Says(Files([File(integer_to_list(N), 7) || N <- lists:seq(1, 20000)]), bad_manifest, "more files"),
    Says(<<"{\"bc_gitops_manifest\": 1, \"manifests\": []}">>, bad_manifest, "unknown key"),
    Says(<<"[[[[">>, bad_manifest, "line 1"),
    Says(<<"#{files => []}.">>, bad_manifest, "line 1"),
    %% the store has more, or less, than was said
    Says(Files([File("a", 6)]), content_unavailable, "more than 6 bytes"),
    Says(Files([File("a", 8)]), bad_manifest, "it lists 8 bytes"),
    ?assertNot(filelib:is_file(filename:join(dir(Config), "outside"))).

%%% macula

macula_comes_first_and_is_marked(Config) ->
    {Store, Bytes, Mcid} = published(Config, "store", "demo_mac", "1.0.0"),
    stores([Store]),
    Given = filename:join(dir(Config), "given"),
    ok = file:write_file(Given, Bytes),
    Body = io_lib:format("file:read_file(~0tp)", [Given]),
    bct_content:with_macula(dir(Config), Body, fun() ->
        {ok, #{key := Key, verified := macula_content}} = prepare(demo_mac, source(Mcid)),
        ?assertMatch({ok, #{verified := macula_content}}, bc_gitops_workspace:lookup(Key))
    end).

%% The digest of a manifest of macula's own covers nothing that is seen here.
macula_gives_bytes_paths_and_maps(Config) ->
    Bytes = project(Config, "demo_shapes", "1.0.0"),
    Given = filename:join(dir(Config), "given"),
    ok = file:write_file(Given, Bytes),
    Path = binary_to_list(Given),
    Text = fun(Term) -> io_lib:format("~0tp", [Term]) end,
    Read = io_lib:format("element(2, file:read_file(~0tp))", [Path]),
    Answers = [["{ok, ", Read, "}"], Read,
               Text({ok, Path}), Text({ok, Given}), Text({ok, #{path => Path}}),
               ["{ok, #{data => ", Read, ", size => 1}}"], ["#{content => ", Read, "}"]],
    [begin
        Mcid = mcid(manifest, integer_to_binary(N)),
        bct_content:with_macula(dir(Config), Answer, fun() ->
            ?assertMatch({ok, #{verified := macula_content}}, prepare(demo_shapes, source(Mcid)))
        end)
     end || {N, Answer} <- lists:enumerate(Answers)],
    ?assertEqual([], cached(Config)).

macula_fails_and_the_stores_are_asked(Config) ->
    {Store, _, Mcid} = published(Config, "store", "demo_mf", "1.0.0"),
    [begin
        stores([]),
        bct_content:with_macula(dir(Config), Answer, fun() ->
            {error, {Kind, _}} = Result = prepare(demo_mf, source(raw(integer_to_binary(N)))),
            ?assertSays(Said, Result)
        end)
     end || {N, {Answer, Kind, Said}} <- lists:enumerate([
        {"{error, not_found}", content_not_found, "macula_content: does not have it"},
        {"{error, {fetch_failed, no_providers}}", content_unavailable, "macula_content failed"},
        {"error(boom)", content_unavailable, "boom"},
        {"exit(kill)", content_unavailable, "macula_content"},
        {"exit(self(), kill)", content_unavailable, "macula_content ended"},
        {"{ok, 17}", content_unavailable, "neither bytes nor a file"},
        {"{ok, #{x => 1}}", content_unavailable, "neither bytes nor a file"}
    ])],
    stores([Store]),
    bct_content:with_macula(dir(Config), "{error, not_found}", fun() ->
        ?assertMatch({ok, #{verified := digest}}, prepare(demo_mf, source(Mcid)))
    end).

macula_hangs_and_the_stores_are_asked(Config) ->
    {Store, _, Mcid} = published(Config, "store", "demo_mh", "1.0.0"),
    stores([Store]),
    Self = self(),
    true = register(bct_macula_observer, Self),
    Body = "bct_macula_observer ! {fetches, self()}, receive never -> ok end",
    bct_content:with_macula(dir(Config), Body, fun() ->
        ?assertMatch({ok, #{verified := digest}}, fetch(Config, Mcid, 4000)),
        receive
            {fetches, Pid} ->
                Monitor = monitor(process, Pid),
                receive {'DOWN', Monitor, process, Pid, _} -> ok end
        end
    end).

a_manifest_of_ours_through_macula(Config) ->
    From = tree(filename:join(dir(Config), "from"), bct_app:erlang_mk("demo_mm", "1.0.0")),
    Store = store(dir(Config), "store"),
    {ok, Mcid} = bc_gitops_content:publish(From, Store),
    Body = io_lib:format("file:read_file(filename:join(~0tp, Mcid))", [Store]),
    bct_content:with_macula(dir(Config), Body, fun() ->
        ?assertMatch({ok, #{verified := macula_content}}, prepare(demo_mm, source(Mcid)))
    end).
