%%% @doc Git sources: the commit that a ref means now, and that commit's work tree with its history
%%% and tags.
-module(bc_gitops_source_git).
-behaviour(bc_gitops_source).

-include("bc_gitops.hrl").

-export([type/0, resolve/2, fetch/5]).

-spec type() -> git.
type() -> git.

%% @doc Full commit ids and one given in the options need no network; a ref is looked for in the
%% remote's listing; `unknown' is what only a fetch can tell (a short id).
-spec resolve(#source_spec{}, bc_gitops_source:options()) ->
    bc_gitops_source:known() | {error, {atom(), map()}}.
resolve(#source_spec{url = Url}, _) when not is_binary(Url) ->
    {error, {bad_url, #{message => <<"a git source needs a url">>}}};
resolve(_, #{commit := <<Commit:40/binary>>}) ->
    {ok, #{revision => Commit}};
resolve(#source_spec{ref = Ref} = Source, Options) ->
    case is_commit(Ref) of
        true -> {ok, #{revision => Ref}};
        false -> list(Source, Options)
    end.

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
        [Commit | _] -> {ok, #{revision => Commit}};
        [] -> unknown
    end.

%% @doc Puts the work tree at Dir, with what a mirror has already. `clone_start' and `clone_stop' are
%% told.
-spec fetch(atom(), #source_spec{}, bc_gitops_source:known(), Dir :: binary(),
            bc_gitops_source:options()) ->
    {ok, bc_gitops_source:fetched()} | {error, {atom(), map()}}.
fetch(App, #source_spec{url = Url, ref = Ref}, Known, Dir, Options) ->
    Wanted = case Known of
        {ok, #{revision := Commit}} -> Commit;
        unknown -> Ref
    end,
    Metadata = #{app => App, repo => bc_gitops_config:public_url(Url), ref => Ref},
    Fetched = bc_gitops_span:run(git_clone, Metadata, fun() ->
        Checkout = #{op => checkout, url => Url, path => Dir, ref => Wanted},
        request(maps:merge(Checkout, maps:with([mirrors], Options)), Options)
    end),
    case Fetched of
        {ok, #{commit := Id} = Done} ->
            ok = trim(Done, Options),
            {ok, #{revision => Id}};
        {error, _} = Error ->
            Error
    end.

trim(#{fetched_bytes := Bytes}, #{mirrors := Mirrors}) when Bytes > 0 ->
    bc_gitops_git_mirror:trim_at(Mirrors);
trim(_Done, _Options) ->
    ok.

request(Request, Options) ->
    #{timeout := Timeout} = Access = bc_gitops_source:access(Options),
    All = maps:merge(maps:merge(Request, Access), maps:with([on_progress], Options)),
    bc_gitops_git:request(All, Timeout).
