%%% @doc Mirrors of git repositories in the workspace, written by the native library alone: those that
%%% builds ask for (`git/DIGEST'), and those of the applications' own sources (`sources/DIGEST'), which
%%% no build sees. Whoever asks gets a repository of their own with what the mirror has then.
%%%
%%% No login of this node is ever used for what builds ask for: what needs one, or is not allowed as a
%%% source, has no mirror there.
-module(bc_gitops_git_mirror).

-export([share/4, forget/2, of_sources/1, trim/1, trim_at/1, clear/1]).

-export_type([shared/0]).

-type shared() :: #{
    heard := calendar:datetime(),         % when the remote was last heard of, in universal time
    fetched_bytes := non_neg_integer(),
    silent := binary() | undefined        % why it was not heard now
}.

%% What stays of all mirrors, and how large one may be, in bytes.
-define(KEPT, 4 * 1024 * 1024 * 1024).
-define(LARGEST, 1024 * 1024 * 1024).
%% For removing; nobody waits long for a disk.
-define(TIMEOUT, 60000).

%% @doc A bare repository at To with the branches and tags that the remote has now, fetched as far as
%% they are new. Of a remote that does not answer it is what it had when it was last heard of.
-spec share(Workspace :: binary(), Url :: binary(), To :: binary(), bc_gitops_source:options()) ->
    {ok, shared()} | {error, {Kind :: atom(), Details :: map()}}.
share(Workspace, Url, To, Options) ->
    #{timeout := Timeout, auth := Auth} = bc_gitops_source:access(Options),
    Public = (maps:with([ca_file, allow_http], Auth))#{allow_local => false},
    Request = maps:merge(maps:with([on_progress], Options),
                         #{op => mirror, url => Url, root => root(Workspace), share => To,
                           auth => Public, max_bytes => ?LARGEST}),
    case bc_gitops_git:request(Request, Timeout) of
        {ok, #{heard := Heard} = Shared} ->
            {ok, Shared#{heard := calendar:system_time_to_universal_time(Heard, second)}};
        {error, _} = Error ->
            Error
    end.

%% @doc Removes the mirrors of these urls: something is wrong with one of them.
-spec forget(Workspace :: binary(), Urls :: [binary()]) -> ok.
forget(Workspace, Urls) ->
    drop(root(Workspace), #{only => Urls, keep => 0}).

%% @doc Where those of sources are.
-spec of_sources(Workspace :: binary()) -> binary().
of_sources(Workspace) ->
    filename:join(Workspace, <<"sources">>).

%% @doc Removes what builds did not ask for the longest, beyond what stays.
-spec trim(Workspace :: binary()) -> ok.
trim(Workspace) ->
    trim_at(root(Workspace)).

%% @doc The same of the mirrors in a directory.
-spec trim_at(Root :: binary()) -> ok.
trim_at(Root) ->
    drop(Root, #{keep => ?KEPT}).

%% @doc Removes all of them, except what is being fetched.
-spec clear(Workspace :: binary()) -> ok.
clear(Workspace) ->
    [ok = drop(Root, #{keep => 0}) || Root <- [root(Workspace), of_sources(Workspace)]],
    ok.

drop(Root, What) ->
    case bc_gitops_git:request(What#{op => drop_mirrors, root => Root}, ?TIMEOUT) of
        {ok, _} ->
            ok;
        {error, {_, #{message := Message}}} ->
            logger:warning("bc_gitops: mirrors of git repositories cannot be removed: ~ts", [Message])
    end.

root(Workspace) ->
    filename:join(Workspace, <<"git">>).
