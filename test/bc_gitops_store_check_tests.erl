%%% What stands in the store and is not what was stored is found out, read no more often than needed,
%%% and a store of an older version goes on being one.
-module(bc_gitops_store_check_tests).
-include_lib("eunit/include/eunit.hrl").

check_test_() ->
    [{Name, {timeout, 60, fun() -> bct_dir:with("check", fun(Dir) -> in_workspace(Dir, Fun) end) end}}
     || {Name, Fun} <- [
        {"files of every kind are compared", fun every_file/1},
        {"what a build needs of others is compared", fun needs/1},
        {"a build is read once, and again when it was touched", fun read_once/1},
        {"a build of format 1 becomes one of today", fun format_1/1},
        {"a damaged build of format 1 is damaged", fun format_1_damaged/1},
        {"a build of format 1 that cannot be listed is used as it is", fun format_1_unwritable/1}
    ]].

in_workspace(Dir, Fun) ->
    ok = bc_gitops_workspace:init(Dir),
    try Fun(Dir) after gen_server:stop(bc_gitops_workspace_server) end.

make(Dir, Name) ->
    bct_build:make(Dir, Name, #{
        modules => [{list_to_atom(atom_to_list(Name) ++ "_m"), "f() -> 1.\n"}],
        files => [{"priv/native.so", "elf"}, {"priv/sub/text", ""}]
    }).

check(Build) -> bc_gitops_workspace:check(Build).

every_file(Dir) ->
    [begin
        #{key := Key, path := Path} = Build = make(Dir, ck_one),
        ?assertEqual(ok, check(Build)),
        File = filename:join(Path, Name),
        ok = bct_build:damage(File, Content),
        {error, {build_damaged, #{app := ck_one, key := Key, path := At, message := Message}}} = check(Build),
        ?assertEqual(File, At),
        ?assertNotEqual(nomatch, string:find(Message, Name))
     end || {Name, Content} <- [
        {<<"ebin/ck_one_m.beam">>, <<"FOR1">>}, {<<"ebin/ck_one.app">>, none}, {<<"priv/native.so">>, "ELF"},
        {<<"priv/sub/text">>, "x"}, {<<"ebin/other.beam">>, "x"}
    ]].

needs(Dir) ->
    #{key := Key, path := Path, libs := Libs} = make(Dir, ck_needed),
    {ok, Build} = bc_gitops_store:seal(Dir, (make(Dir, ck_needs))#{needs := [Key], libs := Libs}),
    ?assertEqual(ok, check(Build)),
    ok = bct_build:damage(filename:join(Path, "priv/native.so"), "ELF"),
    ?assertMatch({error, {build_damaged, #{app := ck_needs, key := Key}}}, check(Build)),
    ok = bc_gitops_store:delete(Dir, Key, filename:join(Dir, "trash")),
    ?assertMatch({error, {build_damaged, #{app := ck_needs, key := Key}}}, check(Build)).

%% What was read counts as read until a file is touched: seen by the table, and by a table that lies.
read_once(Dir) ->
    #{files := Files, key := Key, path := Path} = Build = make(Dir, ck_once),
    Row = {checked, bc_gitops_store:path(Dir, Key), Files},
    Recall = fun() -> ets:lookup(bc_gitops_workspace_server:table(), Row) end,
    ?assertEqual([], Recall()),
    ?assertEqual(ok, check(Build)),
    [{_, Stamp}] = Recall(),
    ?assertEqual(ok, check(Build)),
    ?assertEqual([{Row, Stamp}], Recall()),
    So = filename:join(Path, "priv/native.so"),
    ok = bct_build:damage(So, "ELF"),
    {ok, Lie} = bc_gitops_native:store_stamp(bc_gitops_store:path(Dir, Key)),
    true = ets:insert(bc_gitops_workspace_server:table(), {Row, Lie}),
    ?assertEqual(ok, check(Build)),
    ok = bct_build:damage(So, "elf"),
    ?assertEqual(ok, check(Build)),
    ?assertNotEqual([{Row, Lie}], Recall()),
    %% being asked for changes nothing
    Before = Recall(),
    ok = bc_gitops_store:touch(Dir, Key),
    ?assertEqual(ok, check(Build)),
    ?assertEqual(Before, Recall()).

%% As the version before wrote it: text, files that may be written, no list of them.
as_format_1(Dir, #{key := Key, libs := Libs} = Build) ->
    Root = bc_gitops_store:path(Dir, Key),
    Cut = fun(Path) -> string:prefix(Path, <<(bc_gitops_store:path(Dir, <<>>))/binary, "/">>) end,
    Hex = fun(_, MD5) -> string:lowercase(binary:encode_hex(MD5)) end,
    Old = (maps:without([files, size, arch, options], Build))#{
        path := Cut(maps:get(path, Build)),
        libs := [Lib#{path := Cut(Path), modules := maps:map(Hex, Modules)}
                 || #{path := Path, modules := Modules} = Lib <- Libs]
    },
    ok = file:delete(filename:join(Root, "files")),
    Text = io_lib:format("%% -*- coding: utf-8 -*-~n~tp.~n", [#{format => 1, build => Old}]),
    ok = file:write_file(filename:join(Root, "manifest"), unicode:characters_to_binary(Text)),
    Root.

format_1(Dir) ->
    #{key := Key, path := Path} = Build = make(Dir, ck_old),
    Root = as_format_1(Dir, Build),
    {ok, Found} = bc_gitops_workspace:lookup(Key),
    ?assertEqual(maps:without([files, size], Build), maps:without([arch, options], Found)),
    ?assertEqual(ok, check(Found)),
    ?assert(filelib:is_regular(filename:join(Root, "files"))),
    {ok, #{files := _, size := _} = Today} = bc_gitops_workspace:lookup(Key),
    ?assertEqual(Found, maps:without([files, size], Today)),
    ok = bct_build:damage(filename:join(Path, "priv/native.so"), "ELF"),
    ?assertMatch({error, {build_damaged, _}}, check(Today)),
    ?assertMatch({error, {build_damaged, _}}, check(Found)).

format_1_damaged(Dir) ->
    #{key := Key, path := Path} = Build = make(Dir, ck_old),
    Root = as_format_1(Dir, Build),
    ok = bct_build:damage(filename:join(Path, "ebin/ck_old_m.beam"), none),
    {ok, Found} = bc_gitops_workspace:lookup(Key),
    ?assertMatch({error, {build_damaged, #{app := ck_old, path := Path}}}, check(Found)),
    ?assertNot(filelib:is_file(filename:join(Root, "files"))).

%% `files' cannot be written where a directory of that name stands.
format_1_unwritable(Dir) ->
    #{key := Key} = Build = make(Dir, ck_old),
    Root = as_format_1(Dir, Build),
    ok = filelib:ensure_path(filename:join(Root, "files/in/the/way")),
    {ok, Found} = bc_gitops_workspace:lookup(Key),
    ?assertEqual(ok, check(Found)),
    ?assertEqual({ok, Found}, bc_gitops_workspace:lookup(Key)).
