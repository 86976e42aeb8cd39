%%% @doc Git for callers in Erlang and Elixir: ordinary clones with a work tree, and requests to the
%%% native library's jobs.
%%%
%%% Works without the application started. Network work runs on threads of the native library; the
%%% caller waits for a message, and its death cancels the job. Paths and urls are strings or
%%% binaries. Urls of repositories on the local disk are allowed here, for the caller is the host's
%%% own code: what comes from repositories goes through `request/2' with the policy of `auth/1'.
-module(bc_gitops_git).

-export([ensure_repo/3, pull/2, clone/3, get_head_commit/1, get_commit_log/2, checkout/2, is_repo/1]).
-export([request/2, start/2, cancel/1, auth/1]).

-export_type([auth/0, request/0, error/0]).

-type text() :: binary() | string().
-type auth() :: #{
    ssh_key => binary(),
    ssh_passphrase_file => binary(),
    known_hosts => binary(),
    username => binary(),
    token_file => binary(),
    token_env => binary(),
    ca_file => binary(),
    hosts => [binary()],
    allow_http => boolean(),
    allow_local => boolean()
}.
-type request() :: #{op := follow | list | checkout | clone | pull | mirror | drop_mirrors,
                     on_progress => bc_gitops_job:on_progress(), atom() => term()}.
-type error() :: {error, {Kind :: atom(), Details :: map()}}.

%% Long enough for the first clone of a large repository; callers with a deadline use request/2.
-define(TIMEOUT, 600000).
%% The library answers every job by its own deadline and a moment; past this it is broken.
-define(MARGIN, 5000).

%% @doc Clones the branch to Path, or updates the clone that stands there.
-spec ensure_repo(Url :: text(), Path :: text(), Branch :: text()) -> ok | error().
ensure_repo(Url, Path, Branch) ->
    Request = #{op => checkout, url => text(Url), path => path(Path),
                ref => <<"refs/heads/", (text(Branch))/binary>>},
    result(own(Request)).

%% @doc Clones the branch to Path, which is missing or empty.
-spec clone(Url :: text(), Path :: text(), Branch :: text()) -> ok | error().
clone(Url, Path, Branch) ->
    result(own(#{op => clone, url => text(Url), path => path(Path), branch => text(Branch)})).

%% @doc Moves the clone and its work tree to what the remote's branch is now; answers the commit.
%% Local changes of tracked files are lost.
-spec pull(Path :: text(), Branch :: text()) -> {ok, Commit :: binary()} | error().
pull(Path, Branch) ->
    case own(#{op => pull, path => path(Path), branch => text(Branch)}) of
        {ok, #{commit := Commit}} -> {ok, Commit};
        {error, _} = Error -> Error
    end.

%% @doc The commit id that HEAD names, 40 hex digits.
-spec get_head_commit(Path :: text()) -> {ok, binary()} | error().
get_head_commit(Path) ->
    bc_gitops_native:git_head(path(Path)).

%% @doc The newest Count commits, newest first: maps with `hash', `author', `email', `timestamp'
%% (seconds since 1970, UTC) and `subject'.
-spec get_commit_log(Path :: text(), Count :: pos_integer()) -> {ok, [map()]} | error().
get_commit_log(Path, Count) ->
    bc_gitops_native:git_log(path(Path), Count).

%% @doc Moves the work tree to a branch, tag or commit that the clone has.
-spec checkout(Path :: text(), Ref :: text()) -> ok | error().
checkout(Path, Ref) ->
    bc_gitops_native:git_checkout(path(Path), text(Ref)).

%% @doc Whether a repository with a `.git' directory stands at Path.
-spec is_repo(Path :: text()) -> boolean().
is_repo(Path) ->
    case bc_gitops_native:git_head(path(Path)) of
        {ok, _} -> true;
        {error, {empty_repository, _}} -> true;
        {error, _} -> false
    end.

%% @doc Runs a job and waits for its answer, at most Timeout milliseconds. The job ends with the
%% calling process. What a transfer tells of itself is given to `on_progress' of the request, there.
-spec request(request(), Timeout :: timeout()) -> {ok, map()} | error().
request(Request, Timeout) ->
    OnProgress = maps:get(on_progress, Request, fun(_) -> ok end),
    case start(maps:remove(on_progress, Request), Timeout) of
        {ok, Job, Ref, Wait} -> bc_gitops_job:await(Job, Ref, Wait, OnProgress);
        {error, _} = Error -> Error
    end.

%% @doc Starts a job whose answers come to the calling process, as `bc_gitops_native:git_start/3'
%% says. Deadline is the longest time to wait for the answer.
-spec start(request(), Timeout :: timeout()) ->
    {ok, bc_gitops_native:job(), reference(), Deadline :: timeout()} | error().
start(Request, Timeout) ->
    Limit = case Timeout of infinity -> ?TIMEOUT; _ -> Timeout end,
    Ref = make_ref(),
    case bc_gitops_native:git_start(Request#{timeout => Limit}, self(), Ref) of
        {ok, Job} -> {ok, Job, Ref, Limit + ?MARGIN};
        {error, _} = Error -> Error
    end.

%% @doc Cancels a job; its answer is `{error, {cancelled, _}}' unless it was done before.
-spec cancel(bc_gitops_native:job()) -> ok.
cancel(Job) ->
    bc_gitops_native:job_cancel(Job).

%% @doc What a configuration says about credentials and allowed urls.
%%
%% ```
%% git_ssh_key              ssh_key               private key file; without it the agent, then ~/.ssh/id_*
%% git_ssh_passphrase_file  ssh_passphrase_file   file with the key's passphrase
%% git_known_hosts          known_hosts           instead of ~/.ssh/known_hosts
%% git_username             username              for SSH (git), tokens (x-access-token), basic authentication
%% git_token_file           token_file            file with a token or password, read at each use
%% git_token_env            token_env             or the environment variable of the VM that holds it
%% git_ca_file              ca_file               PEM, trusted by the whole VM's git besides the system's
%% git_auth_hosts           hosts                 hosts that may get the token, besides that of repo_url
%% allow_http               allow_http            http to other hosts than this one
%% allow_local_sources      allow_local           true as well when repo_url is local
%% '''
-spec auth(Config :: map()) -> auth().
auth(Config) ->
    Url = text(maps:get(repo_url, Config, <<>>)),
    Hosts = [text(Host) || Host <- defined(git_auth_hosts, Config, [])] ++ url_host(Url),
    Flags = #{
        hosts => Hosts,
        allow_http => defined(allow_http, Config, false),
        allow_local => defined(allow_local_sources, Config, false) orelse is_local(Url)
    },
    lists:foldl(fun({Key, Name}, Auth) -> put_text(Name, defined(Key, Config, undefined), Auth) end,
                Flags, auth_keys()).

auth_keys() ->
    [{git_ssh_key, ssh_key}, {git_ssh_passphrase_file, ssh_passphrase_file},
     {git_known_hosts, known_hosts}, {git_username, username}, {git_token_file, token_file},
     {git_token_env, token_env}, {git_ca_file, ca_file}].

defined(Key, Config, Default) ->
    case maps:get(Key, Config, undefined) of
        undefined -> Default;
        Value -> Value
    end.

put_text(_Name, undefined, Auth) -> Auth;
put_text(Name, Value, Auth) -> Auth#{Name => text(Value)}.

is_local(<<"/", _/binary>>) -> true;
is_local(<<"file://", _/binary>>) -> true;
is_local(_) -> false.

%% The host of an https url, with its port when one is written; other urls carry no token.
url_host(Url) ->
    case uri_string:parse(Url) of
        #{scheme := <<"https">>, host := Host, port := Port} when is_integer(Port) ->
            [<<Host/binary, ":", (integer_to_binary(Port))/binary>>];
        #{scheme := <<"https">>, host := Host} ->
            [Host];
        _ ->
            []
    end.

%% A request of the host's own code, with the credentials that the application is configured with.
own(Request) ->
    Auth = auth(bc_gitops_config:current()),
    request(Request#{auth => Auth#{allow_local => true}}, ?TIMEOUT).

result({ok, _}) -> ok;
result({error, _} = Error) -> Error.

text(Text) when is_binary(Text) -> Text;
text(Text) when is_atom(Text) -> atom_to_binary(Text);
text(Text) -> unicode:characters_to_binary(Text).

path(Path) ->
    text(filename:absname(Path)).
