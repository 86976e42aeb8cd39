-module(bc_gitops_library_tests).
-include_lib("eunit/include/eunit.hrl").

this_library_fits_test() ->
    ?assertEqual(ok, bc_gitops_library:check()).

another_library_asks_for_a_restart_test() ->
    {error, {native_abi, #{loaded := 999, message := Message}} = Reason} =
        bc_gitops_library:check({module, bc_gitops_native}, fun() -> bc_gitops_native:check(999) end),
    ?assertNotEqual(nomatch, string:find(Message, "restart the VM")),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Reason), "restart the VM")).

%% A VM that has everything but the library: the application starts, and says what is missing.
without_its_library_it_starts_and_says_so_test_() ->
    {timeout, 600, fun() ->
        Dir = bct_dir:make("library"),
        Ebin = filename:join([Dir, "bc_gitops", "ebin"]),
        ok = copy(filename:dirname(code:which(bc_gitops)), Ebin),
        Peer = bct_peer:start(#{
            args => ["-pa", unicode:characters_to_list(Ebin), "-kernel", "logger_level", "none"]
        }),
        try
            ok = bct_peer:call(Peer, application, load, [bc_gitops]),
            [ok = bct_peer:call(Peer, application, set_env, [bc_gitops, Key, unicode:characters_to_list(Value)])
             || {Key, Value} <- [
                    {repo_url, filename:join(Dir, "repo")}, {local_path, filename:join(Dir, "clone")},
                    {state_path, filename:join(Dir, "state")}, {workspace_path, filename:join(Dir, "workspace")}
                ]],
            {ok, _} = bct_peer:call(Peer, application, ensure_all_started, [bc_gitops]),
            {error, {native_not_loaded, #{message := Message}} = Reason} = bct_peer:call(Peer, bc_gitops, status, []),
            ?assertNotEqual(nomatch, string:find(Message, "bc_gitops_nif.so is missing")),
            ?assertEqual({error, Reason}, bct_peer:call(Peer, bc_gitops, start_reconciler, [#{}]))
        after
            peer:stop(Peer),
            bct_dir:remove(Dir)
        end
    end}.

copy(From, To) ->
    ok = filelib:ensure_path(To),
    {ok, Files} = file:list_dir(From),
    lists:foreach(
        fun(File) -> {ok, _} = file:copy(filename:join(From, File), filename:join(To, File)) end,
        [File || File <- Files, lists:member(filename:extension(File), [".beam", ".app"])]
    ).
