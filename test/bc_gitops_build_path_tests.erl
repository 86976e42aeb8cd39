-module(bc_gitops_build_path_tests).
-include_lib("eunit/include/eunit.hrl").

%% A version manager is a program that answers `which NAME'; its shims ask it with the user's home.
with_manager(Fun) ->
    bct_dir:with("path", fun(Given) ->
        Dir = unicode:characters_to_list(Given),
        Before = [{Name, os:getenv(Name)} || Name <- ["HOME", "PATH"]],
        true = os:putenv("HOME", Dir),
        try Fun(Dir) after
            [os:putenv(Name, Value) || {Name, Value} <- Before]
        end
    end).

script(File, Text) ->
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, ["#!/bin/sh\n", Text]),
    ok = file:change_mode(File, 8#755).

%% Programs of a version below Root, and a manager that finds them.
manager(Root, Manager) ->
    [script(filename:join([Root, "installs", Name, "9", "bin", Name]), "exit 0\n") || Name <- ["erl", "rebar3"]],
    script(Manager, [
        "[ \"$HOME\" = \"$PWD\" ] || exit 2\n",
        "[ \"$1\" = which ] && [ -e ", Root, "/installs/$2/9 ] || exit 1\n",
        "echo asked >> ", Root, "/asked\necho ", Root, "/installs/$2/9/bin/$2\n"]).

asked(Root) ->
    {ok, Text} = file:read_file(filename:join(Root, "asked")),
    length(binary:matches(Text, <<"asked">>)).

expected(Root) ->
    [filename:join([Root, "installs", Name, "9", "bin"]) || Name <- ["erl", "rebar3"]].

path_without_shims_is_as_it_is_test() ->
    with_manager(fun(Dir) ->
        true = os:putenv("PATH", Dir ++ ":/usr/bin:/bin"),
        ?assertEqual([Dir, "/usr/bin", "/bin"], bc_gitops_build_path:directories())
    end).

shims_that_are_scripts_stand_for_programs_test() ->
    with_manager(fun(Dir) ->
        Root = filename:join(Dir, ".asdf"),
        manager(Root, filename:join(Root, "bin/asdf")),
        [script(filename:join([Root, "shims", Name]), "exec asdf exec\n") || Name <- ["erl", "rebar3", "elixir"]],
        true = os:putenv("PATH", Root ++ "/shims:/usr/bin:/bin"),
        ?assertEqual(expected(Root) ++ ["/usr/bin", "/bin"], bc_gitops_build_path:directories()),
        ?assertEqual({ok, filename:join(Root, "installs/rebar3/9/bin/rebar3")},
                     bc_gitops_command:find("rebar3")),
        ?assertEqual(2, asked(Root)),
        %% the version is gone: it is asked again
        ok = file:del_dir_r(filename:join(Root, "installs/rebar3")),
        ?assertEqual([hd(expected(Root)), "/usr/bin", "/bin"], bc_gitops_build_path:directories())
    end).

shims_that_are_links_stand_for_programs_test() ->
    with_manager(fun(Dir) ->
        Root = filename:join(Dir, ".local/share/mise"),
        Manager = filename:join(Dir, ".local/bin/mise"),
        manager(Root, Manager),
        ok = filelib:ensure_path(filename:join(Root, "shims")),
        [ok = file:make_symlink(Manager, filename:join([Root, "shims", Name])) || Name <- ["erl", "rebar3"]],
        true = os:putenv("PATH", "/usr/bin:/bin:" ++ Root ++ "/shims"),
        ?assertEqual(["/usr/bin", "/bin" | expected(Root)], bc_gitops_build_path:directories())
    end).
