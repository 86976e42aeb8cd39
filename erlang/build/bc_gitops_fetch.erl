%%% @doc Gets the source of an application: which commit its ref means now, and that commit's work
%%% tree with its history and tags.
-module(bc_gitops_fetch).

-include("bc_gitops.hrl").

-export([resolve/2, checkout/5]).

%% @doc The commit that a source means. Full commit ids and one given in the options need no
%% network; a ref is looked for in the remote's listing; `unknown' is what only a fetch can tell (a
%% short id).
-spec resolve(#source_spec{}, Options) ->
    {ok, Commit :: binary()} | unknown | {error, {atom(), map()}}
    when Options :: #{commit => binary(), allow_local => boolean(), timeout := timeout(), _ => _}.
resolve(#source_spec{type = git, url = Url}, _) when not is_binary(Url) ->
    {error, {bad_url, #{message => <<"a git source needs a url">>}}};
resolve(#source_spec{type = git}, #{commit := <<Commit:40/binary>>}) ->
    {ok, Commit};
resolve(#source_spec{type = git, ref = Ref} = Source, Options) ->
    case is_commit(Ref) of
        true -> {ok, Ref};
        false -> list(Source, Options)
    end;
resolve(#source_spec{type = Type}, _) ->
    Message = io_lib:format("sources of type ~s are not supported yet", [Type]),
    {error, {not_supported_yet, #{what => Type, message => iolist_to_binary(Message)}}}.

is_commit(Ref) ->
    is_binary(Ref) andalso re:run(Ref, "\\A[0-9a-f]{40}\\z", [{capture, none}]) =:= match.

list(#source_spec{url = Url, ref = Ref}, Options) ->
    case request(#{op => list, url => Url}, Options) of
        {ok, #{refs := Refs, head := Head}} -> pick(Ref, Head, Refs);
        {error, _} = Error -> Error
    end.

pick(undefined, undefined, _Refs) ->
    {error, {empty_repository, #{message => <<"the repository has no default branch">>}}};
pick(undefined, Head, Refs) ->
    pick(Head, Head, Refs);
pick(Ref, _Head, Refs) ->
    Names = [Ref, <<"refs/heads/", Ref/binary>>, <<"refs/tags/", Ref/binary>>],
    case [Commit || Name <- Names, {ok, Commit} <- [maps:find(Name, Refs)]] of
        [Commit | _] -> {ok, Commit};
        [] -> unknown
    end.

%% @doc Puts the work tree at Dir; answers the commit. `clone_start' and `clone_stop' are told.
-spec checkout(atom(), #source_spec{}, {ok, Commit} | unknown, Dir :: binary(), map()) ->
    {ok, Commit} | {error, {atom(), map()}} when Commit :: binary().
checkout(App, #source_spec{url = Url, ref = Ref}, Known, Dir, Options) ->
    Wanted = case Known of
        {ok, Resolved} -> Resolved;
        unknown -> Ref
    end,
    Metadata = #{app => App, repo => without_user(Url), ref => Ref},
    Fetched = bc_gitops_build_event:span(git_clone, Metadata, fun() ->
        request(#{op => checkout, url => Url, path => Dir, ref => Wanted}, Options)
    end),
    case Fetched of
        {ok, #{commit := Commit}} -> {ok, Commit};
        {error, _} = Error -> Error
    end.

request(Request, #{timeout := Timeout} = Options) ->
    #{timeout := GitTimeout} = Access = bc_gitops_build_config:git_request(Options),
    bc_gitops_git:request(maps:merge(Request, Access), min(Timeout, GitTimeout)).

without_user(Url) ->
    re:replace(Url, <<"(://)[^/@]*@">>, <<"\\1">>, [{return, binary}]).
