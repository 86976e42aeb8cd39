-module(bc_gitops_sandbox_view_tests).
-include_lib("eunit/include/eunit.hrl").

%% A home with a directory of programs, and a PATH.
with_home(Path, Fun) ->
    bct_dir:with("view", fun(Given) ->
        Dir = unicode:characters_to_list(Given),
        Home = filename:join(Dir, "home"),
        ok = filelib:ensure_path(filename:join(Home, "bin")),
        Before = [{Name, os:getenv(Name)} || Name <- ["HOME", "PATH"]],
        true = os:putenv("HOME", Home),
        true = os:putenv("PATH", Path(Home) ++ ":/usr/bin:/bin"),
        try Fun(Dir, Home) after
            [os:putenv(Name, Value) || {Name, Value} <- Before]
        end
    end).

paths(Environment, Own) ->
    {Paths, _Links} = bc_gitops_sandbox_view:readable(Environment, false, Own),
    Paths.

directories_of_path_are_shown_and_the_home_is_not_test() ->
    with_home(fun(Home) -> Home ++ "/bin:" ++ Home ++ ":" ++ filename:dirname(Home) ++ ":.:/:/tmp" end,
        fun(_Dir, Home) -> ?assertEqual([Home ++ "/bin"], paths([], [])) end).

what_holds_ours_is_not_shown_test() ->
    with_home(fun(Home) -> Home ++ "/bin" end, fun(_Dir, Home) ->
        ?assertEqual([], paths([], [Home ++ "/bin/state"]))
    end).

what_the_environment_names_is_shown_test() ->
    with_home(fun(_) -> "/bin" end, fun(Dir, Home) ->
        [ok = filelib:ensure_path(filename:join(Dir, Name)) || Name <- ["one", "two/in"]],
        One = filename:join(Dir, "one"),
        Two = filename:join(Dir, "two"),
        Environment = [{"A", One ++ ":/nowhere/at/all"}, {"B", list_to_binary(Two)}, {"C", Two ++ "/in"},
                       {"D", "https://host" ++ One}, {"E", Home}, {"F", "text"}, {"G", "/"}, {"H", "/root"}],
        ?assertEqual([One, Two], paths(Environment, [])),
        ?assertEqual([Two], paths(tl(Environment), []))
    end).

sockets_are_shown_with_the_network_only_test() ->
    with_home(fun(_) -> "/bin" end, fun(Dir, _Home) ->
        Socket = filename:join(Dir, "socket"),
        {ok, Listening} = gen_tcp:listen(0, [{ifaddr, {local, Socket}}]),
        Shown = [bc_gitops_sandbox_view:readable([{"SSH_AUTH_SOCK", Socket}], Network, [])
                 || Network <- [true, false]],
        ok = gen_tcp:close(Listening),
        ?assertEqual([{[Socket], []}, {[], []}], Shown)
    end).

links_on_the_way_are_made_test() ->
    with_home(fun(Home) -> Home ++ "/current/bin" end, fun(_Dir, Home) ->
        Real = Home ++ "/tools/9/bin",
        ok = filelib:ensure_path(Real),
        ok = file:make_symlink("tools/9", Home ++ "/current"),
        ?assertEqual({[Real], [{Home ++ "/current/bin", Real}]},
                     bc_gitops_sandbox_view:readable([], false, []))
    end).

%% OTP around its programs, Elixir around its own, and what rebar3 installs for itself.
installations_are_shown_test() ->
    with_home(fun(Home) -> lists:append([Home, "/.local/bin:", Home, "/elixir/bin:", Home, "/.cache/rebar3/bin"]) end,
        fun(_Dir, Home) ->
            Otp = Home ++ "/.local/lib/erlang",
            [ok = filelib:ensure_path(Home ++ Path)
             || Path <- ["/.local/bin", "/.local/share/bc_gitops/state", "/.local/lib/erlang/lib/stdlib-4.2",
                         "/elixir/lib/elixir/ebin", "/.cache/rebar3/vsns/3.19", "/.cache/other"]],
            [program(Home ++ Path) || Path <- ["/.local/lib/erlang/bin/erl", "/elixir/bin/mix", "/.cache/rebar3/bin/rebar3"]],
            ok = file:make_symlink("../lib/erlang/bin/erl", Home ++ "/.local/bin/erl"),
            ?assertEqual([Home ++ "/.cache/rebar3/bin", Home ++ "/.cache/rebar3/vsns", Home ++ "/.local/bin", Otp,
                          Home ++ "/elixir"], paths([], [Home ++ "/.local/share/bc_gitops/state"]))
        end).

program(File) ->
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, "#!/bin/sh\n"),
    ok = file:change_mode(File, 8#755).

the_system_has_no_homes_and_no_secrets_test() ->
    Shown = bc_gitops_sandbox_view:system(),
    [?assertNot(lists:member(Path, Shown))
     || Path <- ["/", "/etc", "/root", "/home", "/var", "/run", "/opt", "/etc/shadow", "/etc/ssl", "/etc/ssh"]],
    ?assert(lists:member("/usr", Shown)).

%% As /etc is: over the rest of /usr, and after everything else read-only.
configuration_of_local_programs_is_covered_test() ->
    case file:read_link_info("/usr/local/etc") of
        {ok, Info} when element(3, Info) =:= directory ->
            Shown = bc_gitops_sandbox_view:system(),
            [_, _ | After] = lists:dropwhile(fun(Arg) -> Arg =/= "/usr" end, Shown),
            ?assertMatch(["--tmpfs", "/usr/local/etc" | _],
                         lists:dropwhile(fun(Arg) -> Arg =/= "--tmpfs" end, After));
        _ ->
            ok
    end.
