%%% @doc While a build fetches its dependencies, its git asks here for each repository of http and
%%% https, and gets a mirror's content where there may be one: what many builds need comes over the
%%% network once. Owns the listener of this one build, what it was told, and the files by which its
%%% git finds the way: `git' in its scratch directory, which a build in the sandbox cannot write.
%%%
%%%   git ─▶ bin/git-remote-bcgitops ─▶ broker ─▶ bc_gitops_git_mirror
%%%
%%% It says `direct' of everything that has no mirror: then git fetches by itself, with what the
%%% build has of logins. So nothing fails here that would not fail without.
-module(bc_gitops_build_mirrors).

-export([run/2]).

%% A token, a url of at most 4096 bytes, and what is between.
-define(LONGEST, 8192).
%% A helper speaks at once.
-define(SILENCE, 10000).
%% Each is a thread of this VM, and the build says how many it wants.
-define(AT_ONCE, 8).
-define(MOST, 1000).

%% @doc Runs the steps that bring dependencies.
-spec run([bc_gitops_build_tool:step()], bc_gitops_build_command:place()) ->
    ok | {error, {Kind :: atom(), Details :: map()}}.
run(Steps, #{scratch := Scratch} = Job) ->
    Dir = filename:join(Scratch, <<"git">>),
    case open(Dir) of
        {ok, Listener, Token} ->
            Told = ets:new(?MODULE, [set, public]),
            Broker = start(Listener, Job#{owner => self(), token => Token, told => Told, git => Dir}),
            Led = Job#{env := environment(Listener, Token, Dir, Job)},
            try led(Steps, Led, Job, Told) after stop(Broker, Listener, Told) end;
        {error, Reason} ->
            said(Job, "git dependencies are fetched without mirrors: ~ts",
                 [bc_gitops_words:reason(Reason)]),
            alone(Steps, Job)
    end.

%% A repository may have what its mirror has not, a commit of no branch for instance, and a mirror may
%% be damaged where nobody looks: what fails is tried as if there were none.
led([], _Led, _Job, _Told) ->
    ok;
led([Step | Rest], Led, Job, Told) ->
    case {bc_gitops_build_command:run(Step, Led), served(Told)} of
        {ok, _} -> led(Rest, Led, Job, Told);
        {{error, {deps_failed, _}}, [_ | _] = Urls} -> once_more([Step | Rest], Job, Urls);
        {{error, _} = Error, _} -> Error
    end.

once_more(Steps, #{workspace := Workspace} = Job, Urls) ->
    said(Job, "once more, with git dependencies that the build fetches itself", []),
    case alone(Steps, Job) of
        ok -> bc_gitops_git_mirror:forget(Workspace, Urls);
        {error, _} = Error -> Error
    end.

alone([], _Job) -> ok;
alone([Step | Rest], Job) ->
    case bc_gitops_build_command:run(Step, Job) of
        ok -> alone(Rest, Job);
        {error, _} = Error -> Error
    end.

%% The urls whose mirrors this build was given.
served(Told) -> [Url || {Url, <<"mirror ", _/binary>>} <- ets:tab2list(Told)].

%% The runner is git's helper under another name.
open(Dir) ->
    Bin = filename:join(Dir, <<"bin">>),
    Helper = filename:join(Bin, <<"git-remote-bcgitops">>),
    steps([fun(_) -> filelib:ensure_path(Bin) end,
           fun(_) -> bc_gitops_command:runner() end,
           fun({ok, Runner}) -> file:copy(Runner, Helper) end,
           fun(_) -> file:change_mode(Helper, 8#755) end,
           fun(_) -> runs(Helper) end,
           fun(_) -> file:write_file(filename:join(Dir, <<"config">>), config()) end,
           fun(_) -> token() end,
           fun({ok, Token}) -> listen(Token) end], ok).

steps([], Done) -> Done;
steps(_Steps, {error, _} = Error) -> Error;
steps([Step | Rest], Before) -> steps(Rest, Step(Before)).

%% Called by nobody it refuses; on a disk that no program may be started from it does nothing.
runs(Helper) ->
    case bc_gitops_command:run(#{program => Helper, timeout => ?SILENCE}) of
        {error, {exit_status, #{status := 128}}} -> ok;
        {error, _} = Error -> Error
    end.

token() ->
    case file:open("/dev/urandom", [read, raw, binary]) of
        {ok, File} ->
            {ok, Bytes} = file:read(File, 32),
            ok = file:close(File),
            {ok, binary:encode_hex(Bytes)};
        {error, _} = Error ->
            Error
    end.

listen(Token) ->
    Options = [binary, {ip, {127, 0, 0, 1}}, {packet, line}, {packet_size, ?LONGEST},
               {recbuf, ?LONGEST}, {active, false}, {backlog, 64}],
    case gen_tcp:listen(0, Options) of
        {ok, Listener} -> {ok, Listener, Token};
        {error, _} = Error -> Error
    end.

%% A file, since mix takes away the variables that hold settings. What else would have been read
%% comes first; a longer `insteadOf' of the build's own wins.
config() ->
    Own = case lists:keyfind("GIT_CONFIG_GLOBAL", 1, bc_gitops_build_config:passed_environment()) of
        {_, File} -> [re:replace(File, "[\\\\\"]", "\\\\&", [global])];
        false -> ["~/.config/git/config", "~/.gitconfig"]
    end,
    [[["[include]\n\tpath = \"", File, "\"\n"] || File <- Own],
     [["[url \"bcgitops::", Scheme, "\"]\n\tinsteadOf = ", Scheme, "\n"]
      || Scheme <- ["https://", "http://"]],
     "[protocol \"bcgitops\"]\n\tallow = always\n"].

environment(Listener, Token, Dir, #{env := Env}) ->
    {ok, Port} = inet:port(Listener),
    Given = maps:from_list(bc_gitops_build_config:passed_environment() ++ Env),
    Path = maps:get("PATH", Given, lists:join(":", bc_gitops_build_path:directories())),
    Env ++ [{"BC_GITOPS_MIRRORS", ["127.0.0.1:", integer_to_list(Port)]},
            {"BC_GITOPS_MIRRORS_TOKEN", Token},
            {"GIT_CONFIG_GLOBAL", filename:join(Dir, <<"config">>)},
            {"PATH", [filename:join(Dir, <<"bin">>), ":", Path]}
            | [{"GIT_ALLOW_PROTOCOL", [Allowed, ":bcgitops"]}
               || #{"GIT_ALLOW_PROTOCOL" := Allowed} <- [Given]]].

%%% The broker: processes that end with the build.

start(Listener, Context) ->
    spawn_link(fun() ->
        [spawn_link(fun() -> accept(Listener, Context) end) || _ <- lists:seq(1, ?AT_ONCE)],
        receive never -> ok end
    end).

stop(Broker, Listener, Told) ->
    Monitor = monitor(process, Broker),
    true = unlink(Broker),
    exit(Broker, shutdown),
    receive {'DOWN', Monitor, process, Broker, _} -> ok end,
    receive {'EXIT', Broker, _} -> ok after 0 -> ok end,
    ok = gen_tcp:close(Listener),
    true = ets:delete(Told).

accept(Listener, Context) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            serve(Socket, Context),
            accept(Listener, Context);
        {error, _} ->
            %% whoever is not heard fetches by itself
            gen_tcp:close(Listener)
    end.

%% Whoever does not know the token is told nothing.
serve(Socket, #{token := Token} = Context) ->
    _ = case gen_tcp:recv(Socket, 0, ?SILENCE) of
        {ok, <<Given:64/binary, " ", Rest/binary>>} when Given =:= Token ->
            gen_tcp:send(Socket, [answer(string:trim(Rest, trailing, "\n"), Context), "\n"]);
        _ ->
            refused
    end,
    gen_tcp:close(Socket).

%% Within one build a url means the same each time.
answer(Url, #{told := Told} = Context) ->
    case {ets:lookup(Told, Url), ets:info(Told, size) < ?MOST} of
        {[{_, Answer}], _} ->
            Answer;
        {[], true} ->
            Answer = shared(Url, Context),
            true = ets:insert(Told, {Url, Answer}),
            Answer;
        {[], false} ->
            <<"direct">>
    end.

shared(Url, #{git := Dir, workspace := Workspace, until := Until} = Context) ->
    #{name := Name, owner := Owner} = Context,
    To = filename:join([Dir, <<"mirrors">>, integer_to_binary(erlang:unique_integer([positive]))]),
    said(Context, "git: asking for ~ts", [shown(Url)]),
    Options = #{timeout => max(1, Until - erlang:monotonic_time(millisecond)),
                on_progress => fun(Told) -> bc_gitops_build_progress:received(Name, Owner, Told) end},
    case bc_gitops_git_mirror:share(Workspace, Url, To, Options) of
        {ok, Shared} ->
            said(Context, "git: ~ts: ~ts", [shown(Url), news(Shared)]),
            ok = trimmed(Workspace, Shared),
            <<"mirror ", To/binary>>;
        {error, {_, #{message := Message}}} ->
            said(Context, "git: fetched by the build itself, ~ts: ~ts", [shown(Url), Message]),
            <<"direct">>
    end.

trimmed(_Workspace, #{fetched_bytes := 0}) -> ok;
trimmed(Workspace, _Shared) -> bc_gitops_git_mirror:trim(Workspace).

news(#{silent := undefined, fetched_bytes := 0}) -> "nothing new in our mirror";
news(#{silent := undefined, fetched_bytes := Bytes}) ->
    io_lib:format("~b bytes fetched into our mirror", [Bytes]);
news(#{silent := Why, heard := Heard}) ->
    io_lib:format("does not answer (~ts); it is taken as it was at ~ts", [Why, at(Heard)]).

at({{Year, Month, Day}, {Hour, Minute, Second}}) ->
    io_lib:format("~b-~2..0b-~2..0b ~2..0b:~2..0b:~2..0b UTC",
                  [Year, Month, Day, Hour, Minute, Second]).

shown(Url) ->
    bc_gitops_config:public_url(Url).

said(#{log := Log}, Format, Args) ->
    Line = ["== ", io_lib:format(Format, Args), "\n"],
    bc_gitops_build_log:write(Log, unicode:characters_to_binary(Line)).
