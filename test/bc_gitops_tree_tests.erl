-module(bc_gitops_tree_tests).
-include_lib("eunit/include/eunit.hrl").
-include_lib("kernel/include/file.hrl").

in_dir(Fun) ->
    fun() -> bct_dir:with("tree", fun(Dir) ->
        Root = filename:join(Dir, "root"),
        ok = filelib:ensure_path(filename:join(Root, "priv")),
        Fun(Dir, binary_to_list(Root), binary_to_list(filename:join(Dir, "copy")))
    end) end.

copy(Root, Part, To) ->
    bc_gitops_tree:copy({filename:join(Root, Part), To}, Root, bc_gitops_tree:new_budget()).

tree_test_() ->
    [{Name, in_dir(Fun)} || {Name, Fun} <- [
        {"files keep content and mode", fun content_and_mode/3},
        {"a link inside becomes what it points to", fun link_inside/3},
        {"a link out of the tree is refused", fun link_outside/3},
        {"a link through a link out of the tree is refused", fun link_through/3},
        {"a link on the way to what is copied is refused when it leads out", fun link_above/3},
        {"links in a circle are refused", fun circle/3},
        {"a link to its own directory is refused", fun own_directory/3},
        {"a link to nothing brings nothing", fun dangling/3},
        {"a pipe is refused", fun pipe/3},
        {"only small files of the tree itself are read", fun read/3},
        {"a lock that is no text is one", fun strange_lock/3},
        {"a tree without permissions can be removed", fun remove/3},
        {"a file is replaced whole", fun atomically/3}
    ]].

read(Dir, Root, _Copy) ->
    File = fun(Name) -> filename:join(Root, Name) end,
    ok = file:write_file(File("here"), "text"),
    ok = file:write_file(File("large"), binary:copy(<<"x">>, 8 * 1024 * 1024 + 1)),
    ok = file:write_file(filename:join(Dir, "outside"), "secret"),
    ok = file:make_symlink("here", File("link")),
    ok = file:make_symlink("../outside", File("out")),
    ok = file:make_symlink("/dev/zero", File("endless")),
    [] = os:cmd("mkfifo " ++ File("pipe")),
    ?assertEqual([{ok, <<"text">>}, {ok, <<"text">>}, none, none, none, none, none, none],
                 [bc_gitops_tree:read(Root, Name)
                  || Name <- ["here", "link", "out", "endless", "large", "pipe", "priv", "nothing"]]).

strange_lock(_Dir, Root, _Copy) ->
    Phases = fun(Lock) ->
        ok = file:write_file(filename:join(Root, "rebar.lock"), Lock),
        [Phase || #{phase := Phase} <- bc_gitops_build_rebar3:steps(#{dir => Root})]
    end,
    ?assertEqual([[build], [build], [deps, build]], [Phases(Lock) || Lock <- [<<"[].\n">>, <<"[ ].">>, <<255, "[].">>]]).

content_and_mode(_Dir, Root, Copy) ->
    File = filename:join(Root, "priv/tool"),
    ok = file:write_file(File, "text"),
    ok = file:change_mode(File, 8#4755),
    {ok, _} = copy(Root, "priv", Copy),
    ?assertEqual({ok, <<"text">>}, file:read_file(filename:join(Copy, "tool"))),
    {ok, #file_info{mode = Mode}} = file:read_file_info(filename:join(Copy, "tool")),
    ?assertEqual(8#755, Mode band 8#7777).

link_above(Dir, Root, Copy) ->
    ok = filelib:ensure_path(filename:join(Dir, "other/app/ebin")),
    ok = file:make_symlink("../other", filename:join(Root, "deps")),
    ok = file:make_symlink(".", filename:join(Root, "here")),
    ?assertMatch({error, {link_outside, _}}, copy(Root, "deps/app/ebin", Copy)),
    ?assertMatch({ok, _}, copy(Root, "here/priv", Copy)).

link_inside(_Dir, Root, Copy) ->
    ok = filelib:ensure_path(filename:join(Root, "src/data")),
    ok = file:write_file(filename:join(Root, "src/data/a"), "a"),
    ok = file:make_symlink("../src/data", filename:join(Root, "priv/link")),
    {ok, _} = copy(Root, "priv", Copy),
    ?assertEqual({ok, <<"a">>}, file:read_file(filename:join(Copy, "link/a"))),
    ?assertMatch({ok, #file_info{type = directory}},
        file:read_link_info(filename:join(Copy, "link"))).

link_outside(_Dir, Root, Copy) ->
    ok = file:make_symlink("/etc/passwd", filename:join(Root, "priv/link")),
    ?assertMatch({error, {link_outside, #{target := <<"/etc/passwd">>}}}, copy(Root, "priv", Copy)),
    ?assertNot(filelib:is_file(filename:join(Copy, "link"))).

link_through(Dir, Root, Copy) ->
    ok = file:write_file(filename:join(Dir, "secret"), "s"),
    ok = file:make_symlink("..", filename:join(Root, "up")),
    ok = file:make_symlink("../up/secret", filename:join(Root, "priv/link")),
    ?assertMatch({error, {link_outside, _}}, copy(Root, "priv", Copy)),
    %% a directory beside the root whose name begins like it is outside too
    ok = file:make_dir(Root ++ "-other"),
    ok = file:delete(filename:join(Root, "priv/link")),
    ok = file:make_symlink("../../root-other", filename:join(Root, "priv/link")),
    ?assertMatch({error, {link_outside, _}}, copy(Root, "priv", Copy)).

circle(_Dir, Root, Copy) ->
    ok = file:make_symlink("b", filename:join(Root, "priv/a")),
    ok = file:make_symlink("a", filename:join(Root, "priv/b")),
    ?assertMatch({error, {unreadable, #{reason := eloop}}}, copy(Root, "priv", Copy)).

own_directory(_Dir, Root, Copy) ->
    ok = file:make_symlink(".", filename:join(Root, "priv/self")),
    ?assertMatch({error, {too_deep, _}}, copy(Root, "priv", Copy)).

dangling(_Dir, Root, Copy) ->
    ok = file:make_symlink("nothing", filename:join(Root, "priv/link")),
    ?assertMatch({ok, _}, copy(Root, "priv", Copy)),
    ?assertEqual({ok, []}, file:list_dir(Copy)).

pipe(_Dir, Root, Copy) ->
    {ok, _} = bc_gitops_command:run(#{program => "mkfifo",
        args => [filename:join(Root, "priv/pipe")]}),
    ?assertMatch({error, {special_file, #{type := other}}}, copy(Root, "priv", Copy)).

remove(_Dir, Root, _Copy) ->
    ok = file:make_symlink("/etc", filename:join(Root, "priv/link")),
    ok = file:change_mode(filename:join(Root, "priv"), 0),
    ?assertEqual(ok, bc_gitops_tree:remove(Root)),
    ?assertNot(filelib:is_file(Root)),
    ?assert(filelib:is_dir("/etc")),
    ?assertEqual(ok, bc_gitops_tree:remove(Root)).

atomically(_Dir, Root, _Copy) ->
    File = filename:join(Root, "state"),
    ok = bc_gitops_tree:write_atomically(File, "one"),
    ok = bc_gitops_tree:write_atomically(File, "two"),
    ?assertEqual({ok, <<"two">>}, file:read_file(File)),
    ?assertMatch({error, {unwritable, #{reason := enoent}}},
                 bc_gitops_tree:write_atomically(filename:join(Root, "no/where"), "x")).
