%%% @doc Makes and removes builds in a workspace, for ever, so that a VM can be killed in the midst of it.
-module(bct_churn).
-export([begin_at/2, key/1]).

-define(BUILDS, 4).
-define(FILES, 30).

%% @doc Publishes and removes once, and goes on with that in a process of its own.
begin_at(Workspace, Seed) ->
    ok = bc_gitops_workspace:init(Workspace),
    lists:foreach(fun(N) -> publish(Workspace, N) end, lists:seq(1, ?BUILDS)),
    ok = bc_gitops_workspace:cleanup(),
    _ = spawn(fun() ->
        _ = rand:seed(exsss, Seed),
        churn(Workspace)
    end),
    ok.

churn(Workspace) ->
    case rand:uniform(3) of
        1 -> ok = bc_gitops_workspace:cleanup();
        _ -> publish(Workspace, rand:uniform(?BUILDS))
    end,
    churn(Workspace).

key(N) ->
    bc_gitops_store:key(churned, revision(N), <<"churn">>).

revision(N) ->
    iolist_to_binary(io_lib:format("~40.16.0b", [N])).

publish(Workspace, N) ->
    Key = key(N),
    Path = filename:join(bc_gitops_store:path(Workspace, Key), <<"lib/churned">>),
    Build = #{key => Key, app => churned, version => <<"1">>, revision => revision(N), tool => rebar3,
              toolchain => <<"churn">>, otp => <<"25">>, path => Path, needs => [],
              libs => [#{name => churned, version => <<"1">>, path => Path, modules => #{}}]},
    {ok, _} = bc_gitops_workspace_server:with_scratch(fun(Scratch) ->
        Out = filename:join(Scratch, "out"),
        [begin
            File = filename:join([Out, "lib/churned/priv", integer_to_list(F div 7), integer_to_list(F)]),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, binary:copy(<<F>>, 1000 * F))
         end || F <- lists:seq(1, ?FILES)],
        bc_gitops_store:publish(Workspace, Out, Key, Build)
    end).
